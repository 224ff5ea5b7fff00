/**
 * A driver that points the controller at memory it was not given: no byte of this process changes, in any world. What the
 * controller says of it is left out: QEMU's calls it a success.
 */
import { setTimeout as pass } from 'node:timers/promises';
import { DataPointer } from '../../examples/nvme/commands.ts';
import type { NvmeController } from '../../examples/nvme/controller.ts';
import type { Namespace } from '../../examples/nvme/namespace.ts';
import { DmaError, type DmaReport } from '../../lib/index.ts';
import type { Fault } from '../../lib/sim/index.ts';
import { describeWith, whyAbsent } from '../absent.ts';
import { assert, it } from '../harness.ts';
import { PAGE as SYSTEM_PAGE } from '../page.ts';
import { copyDeviceMemory, differences } from './device-memory.ts';
import { start, worlds } from './worlds.ts';

/** Bytes of a page of the controller. */
const PAGE = 4096;
const BLOCK = 512;
/** Bytes of addresses that the wild commands go over. */
const WILD = 16 * PAGE;
const DISK = 0x5a;
const MINE = 0xc3;
/** Bytes of what a command and its completion put into the queues. */
const ENTRIES = 64 + 16;
/** The kernel logs few faults in so many milliseconds. */
const RATE_LIMIT = 5500;

const WHAT = {
  never: 'not mapped',
  freed: 'freed',
  unmapped: 'not mapped any more',
  'read-only': 'mapped for reading',
} as const;

interface Scene {
  readonly nvme: NvmeController;
  readonly disk: Namespace;
  /** Whether it is memory of the system, and an IOMMU. */
  readonly real: boolean;
  readonly faults: readonly Fault[] | undefined;
  readonly reports: () => readonly DmaReport[];
  /** Addresses that nothing is mapped at: never, not any more, or not for writing. */
  readonly targets: Readonly<Record<'never' | 'freed' | 'unmapped' | 'read-only', bigint>>;
  /** Everything that must keep its bytes. */
  readonly mine: readonly Uint8Array[];
}

/** A disk of DISK, and memory of every kind full of MINE. */
async function withScene(
  world: (typeof worlds)[number],
  use: (scene: Scene) => Promise<void>,
): Promise<void> {
  const { fn: opening, faults } = world.openWatched();
  await using opened = await start(opening, { depth: 4 });
  const { nvme, disk } = opened;
  const { dma } = nvme.fn;
  await disk.write(0, new Uint8Array(64 * PAGE).fill(DISK));
  const full = (bytes: Uint8Array): Uint8Array => bytes.fill(MINE);
  const coherent = [1, 2, 16].map((pages) => dma.allocCoherent(pages * PAGE));
  const pool = dma.createPool('small', { size: 64, blocks: 256 });
  const blocks = Array.from({ length: 128 }, () => pool.alloc()!);
  const lent = full(new Uint8Array(64 * PAGE));
  const plain = full(new Uint8Array(64 * PAGE));
  const mine = [...coherent.map(({ bytes }) => bytes), ...blocks.map(({ bytes }) => bytes)].map(full);
  const never = dma.reserveIova(WILD)!;
  const mapForReading = () => dma.mapSingle(lent, 'to-device');
  const readOnly = mapForReading();
  assert.equal(readOnly.way, 'pinned');
  // Given back last, so that nobody gets their addresses meanwhile.
  const allocate = () => dma.allocCoherent(WILD);
  const stale = allocate();
  const freed = stale.dmaAddress;
  const mapForNow = () => dma.mapSingle(plain, 'bidirectional');
  const mapping = mapForNow();
  const unmapped = inside(mapping.dmaAddress);
  const release = () => {
    stale.free();
    mapping.unmap();
  };
  release();
  try {
    await use({
      ...{ nvme, disk, faults, real: world.logged },
      reports: () => dma.debug!.reports,
      targets: { never: never.dmaAddress, freed, unmapped, 'read-only': inside(readOnly.dmaAddress) },
      mine: [...mine, lent, plain],
    });
  } finally {
    readOnly.unmap();
    never.destroy();
    for (const block of blocks) block.free();
    pool.destroy();
    for (const buffer of coherent) buffer.free();
  }
}

/** The first whole page of the system after it. */
function inside(address: bigint): bigint {
  return (address | BigInt(SYSTEM_PAGE - 1)) + 1n;
}

function pointer(prp1: bigint, prp2 = 0n): DataPointer {
  const data = new DataPointer();
  [data.low1, data.high1] = halves(prp1);
  [data.low2, data.high2] = halves(prp2);
  return data;
}

function halves(address: bigint): [number, number] {
  return [Number(address & 0xffff_ffffn), Number(address >> 32n)];
}

/** Do it, whatever the controller says of it, and look at every byte. */
async function unharmed(
  scene: Scene,
  what: string,
  data: DataPointer,
  bytes: number,
  opcode = 2,
): Promise<void> {
  const { nvme, disk, mine } = scene;
  // What is memory of the system is in one piece with all of its neighbours; of a simulation, each is by itself.
  const before = scene.real ? copyDeviceMemory() : [];
  assert.equal(before.length > 0, scene.real);
  await nvme.queues[0]!.execute({ opcode, namespace: disk.id, data, dword12: bytes / BLOCK - 1 }, what).catch(
    (error: unknown) => {
      if (!(error instanceof DmaError)) throw error;
    },
  );
  for (const [i, view] of mine.entries()) {
    const at = view.findIndex((byte) => byte !== MINE);
    assert.equal(at, -1, `${what}: byte ${at} of memory ${i} has changed`);
  }
  const changed = scene.real ? differences(before, copyDeviceMemory(), 16) : [];
  const total = changed.reduce((sum, { length }) => sum + length, 0);
  assert.ok(total <= ENTRIES, `${what}: ${total} bytes changed in ${changed.length} places`);
}

for (const world of worlds.filter((one) => one.translated || whyAbsent('iommu') !== undefined)) {
  describeWith('iommu', `wild DMA of an NVMe controller, ${world.name}`, () => {
    for (const kind of ['never', 'freed', 'unmapped', 'read-only'] as const) {
      it(`changes nothing where the driver points it at what is ${WHAT[kind]}`, async () => {
        await withScene(world, async (scene) => {
          const target = scene.targets[kind];
          await unharmed(scene, 'one block', pointer(target), BLOCK);
          await unharmed(scene, 'from an offset', pointer(target + 0x204n), BLOCK);
          await unharmed(scene, 'two pages', pointer(target, target + 0x1000n), 2 * PAGE);
          await unharmed(scene, 'a list that is not there', pointer(target, target + 0x1000n), 16 * PAGE);
          const sgl = pointer(target, 8n * BigInt(PAGE));
          sgl.flags = 1 << 14;
          await unharmed(scene, 'an SGL of one piece', sgl, 8 * PAGE);
          sgl.high2 = 3 << 28;
          await unharmed(scene, 'an SGL that is not there', sgl, 8 * PAGE);
          if (kind !== 'read-only') await unharmed(scene, 'to the disk', pointer(target), BLOCK, 1);
          await knows(scene, kind);
          // It is none the worse for it.
          const back = new Uint8Array(PAGE);
          await scene.disk.read(8, back);
          assert.ok(back.every((byte) => byte === DISK));
        });
      });
    }

    it('writes what it may, and not the page after it', async () => {
      await withScene(world, async (scene) => {
        const { dma } = scene.nvme.fn;
        const page = dma.allocCoherent(PAGE);
        const list = dma.allocCoherent(PAGE);
        const entries = new BigUint64Array(list.buffer);
        entries.set([page.dmaAddress, scene.targets.never, scene.targets['read-only'], page.dmaAddress]);
        await scene.nvme.queues[0]!.execute(
          {
            opcode: 2,
            namespace: 1,
            data: pointer(scene.targets.never, list.dmaAddress),
            dword12: 5 * 8 - 1,
          },
          'a list with wild entries',
        ).catch(() => {});
        assert.ok(page.bytes.every((byte) => byte === DISK || byte === 0));
        for (const view of scene.mine) assert.ok(view.every((byte) => byte === MINE));
        page.free();
        list.free();
      });
    });

    it('is reported with what was there', async () => {
      await pass(world.logged ? RATE_LIMIT : 0);
      await withScene(world, async (scene) => {
        scene.nvme.fn.dma.debug!.clear();
        await unharmed(scene, 'stale', pointer(scene.targets.unmapped), BLOCK);
        const [report] = scene.reports();
        assert.ok(report !== undefined, 'no report');
        assert.match(report.mappedAt?.split('\n')[0] ?? '', /mapForNow .*wild\.test/);
        assert.match(report.releasedAt?.split('\n')[0] ?? '', /release .*wild\.test/);
      });
    });
  });
}

/** A simulated controller says which of its commands and descriptors it was about; dma-debug, what was there. */
async function knows({ faults, reports }: Scene, kind: string): Promise<void> {
  if (faults === undefined) return;
  assert.ok(faults.length > 0, 'no fault');
  for (const { about } of faults) assert.match(about ?? 'nothing', /Read|Write/);
  assert.match(faults[0]!.about!, /command \d+ of queue 1/);
  const [report] = reports();
  assert.ok(report !== undefined, 'no report');
  assert.match(report.message, /command \d+ of queue 1/);
  const maker = { freed: /allocate /, unmapped: /mapForNow /, 'read-only': /mapForReading / }[kind];
  if (maker !== undefined) assert.match(report.mappedAt?.split('\n')[0] ?? 'no stack', maker);
}
