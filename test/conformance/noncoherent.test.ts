/** Memory that CPU and device take turns with: each hand-over is a sync, which is real where they see different bytes. */
import { DMA_ATTR, type DmaDirection } from '../../lib/index.ts';
import { assert, describe, it } from '../harness.ts';
import { DIRECTIONS, PAGE, pattern, reads, refused, sameBytes, writes } from './bytes.ts';
import { type OpenWorld, type World, worlds } from './worlds.ts';

/** What the three kinds have in common. */
interface Turns {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly dmaAddress: bigint;
  readonly freed: boolean;
  syncForCpu(offset?: number, size?: number): void;
  syncForDevice(offset?: number, size?: number): void;
  free(): void;
}

const KINDS = ['allocNoncoherent', 'allocPages', 'allocNoncontiguous'] as const;
/** Of a transfer: more than a page, and not whole ones. */
const SIZE = PAGE + 100;

/** On hardware a transfer takes as long as a thousand allocations, and all directions are alike to it. */
function directionsOf({ simulated }: World): readonly DmaDirection[] {
  return simulated ? DIRECTIONS : ['bidirectional'];
}

/** The device is given `given`, returns `returned`, and the CPU sees each after the sync. */
async function takeTurns(
  world: World,
  open: OpenWorld,
  buffer: Turns,
  direction: DmaDirection,
): Promise<void> {
  const given = pattern(SIZE, 1);
  const returned = pattern(SIZE, 2);
  const { bytes, dmaAddress } = buffer;
  bytes.set(given);
  if (reads(direction)) {
    if (!world.coherent) assert.notDeepEqual(await open.read(dmaAddress, SIZE), given);
    buffer.syncForDevice(0, SIZE);
    sameBytes(await open.read(dmaAddress, SIZE), given, 'what the device reads');
  }
  if (writes(direction)) {
    buffer.syncForDevice(0, SIZE);
    await open.write(dmaAddress, returned);
    if (!world.coherent) sameBytes(bytes.subarray(0, SIZE), given, 'what the CPU has before the sync');
    buffer.syncForCpu(0, SIZE);
    sameBytes(bytes.subarray(0, SIZE), returned, 'what the CPU reads');
  }
}

for (const world of worlds) {
  describe(`noncoherent memory: ${world.name}`, () => {
    it('comes zeroed, under the coherent mask, and goes for good', async () => {
      using open = await world.open();
      const before = open.dma.live.length;
      for (const kind of KINDS) {
        const buffer: Turns = open.dma[kind](SIZE, 'bidirectional');
        assert.equal(buffer.size, kind === 'allocPages' ? 2 * PAGE : SIZE, kind);
        assert.equal(buffer.bytes.length, buffer.size, kind);
        assert.equal(buffer.dmaAddress % BigInt(2 * PAGE), 0n, kind);
        assert.ok(buffer.dmaAddress + BigInt(SIZE) <= 2n ** BigInt(world.coherentBits), kind);
        assert.ok(
          buffer.bytes.every((byte) => byte === 0),
          kind,
        );
        assert.equal(open.dma.addressOf(buffer.bytes), buffer.dmaAddress, kind);
        const { bytes } = buffer;
        bytes.fill(0xee);
        buffer.free();
        assert.deepEqual([bytes.length, buffer.freed], [0, true], kind);
        assert.throws(() => buffer.free(), { code: 'EINVAL' }, kind);
        assert.throws(() => buffer.dmaAddress, { code: 'EINVAL' }, kind);
        assert.throws(() => buffer.syncForCpu(), { code: 'EINVAL' }, kind);
      }
      assert.equal(open.dma.live.length, before);
    });

    for (const kind of KINDS) {
      for (const direction of directionsOf(world)) {
        it(`${kind}, ${direction}: each sees what the other wrote, after the sync`, async () => {
          using open = await world.open();
          const buffer = open.dma[kind](SIZE, direction);
          await takeTurns(world, open, buffer, direction);
          assert.deepEqual(open.faults, []);
        });
      }
    }

    it('is one segment, and readable and writable, when it is noncontiguous', async () => {
      using open = await world.open();
      const buffer = open.dma.allocNoncontiguous(3 * PAGE + 8, 'to-device', DMA_ATTR.ALLOC_SINGLE_PAGES);
      assert.equal(buffer.pieces.length, 1);
      assert.equal(buffer.pieces[0], buffer.bytes);
      const end = buffer.dmaAddress + BigInt(3 * PAGE);
      await open.write(end, pattern(8, 1));
      sameBytes(await open.read(end, 8), pattern(8, 1), 'the last page');
      assert.deepEqual(open.faults, []);
      for (const attributes of [DMA_ATTR.WRITE_COMBINE, DMA_ATTR.MMIO | DMA_ATTR.ALLOC_SINGLE_PAGES, 1, -1]) {
        refused(open.dma, 'EINVAL', `attributes ${attributes}`, () =>
          open.dma.allocNoncontiguous(PAGE, 'to-device', attributes),
        );
      }
    });

    it('is handed over in part by where the CPU has it', async () => {
      using open = await world.open();
      const { dma } = open;
      const line = dma.limits.cacheAlignment;
      const buffer = dma.allocNoncoherent(PAGE + 8, 'bidirectional');
      const part = buffer.bytes.subarray(2 * line, 2 * line + 256);
      const address = buffer.dmaAddress + BigInt(2 * line);
      buffer.bytes.fill(0x11);
      buffer.syncForDevice();
      part.set(pattern(256, 1));
      dma.cacheSync(part, 'to-device');
      sameBytes(await open.read(address, 256), pattern(256, 1), 'the device');
      await open.write(address, pattern(256, 2));
      dma.cacheSync(part, 'from-device');
      sameBytes(part, pattern(256, 2), 'the CPU');
      part.set(pattern(256, 3));
      dma.cacheSync(new DataView(part.buffer, part.byteOffset, 256), 'bidirectional');
      sameBytes(await open.read(address, 256), pattern(256, 3), 'both');
      sameBytes(part, pattern(256, 3), 'both');
      await open.write(address, pattern(256, 4));
      dma.cacheSync(part, 'bidirectional');
      sameBytes(part, pattern(256, 4), 'both, from the device');
      // The last line ends with the buffer.
      dma.cacheSync(buffer.bytes.subarray(PAGE), 'to-device');
      dma.cacheSync(dma.allocPages(1, 'to-device').bytes, 'to-device');
      dma.cacheSync(dma.allocNoncontiguous(PAGE, 'to-device').pieces[0]!, 'to-device');
      if (!world.coherent) {
        for (const [from, to] of [
          [1, 2 * line],
          [0, line + 1],
          [line - 1, line],
          [PAGE, PAGE + 7],
        ]) {
          refused(dma, 'EINVAL', `bytes ${from} to ${to}`, () =>
            dma.cacheSync(buffer.bytes.subarray(from, to), 'to-device'),
          );
        }
      }
    });

    it('is not what cacheSync is for: coherent, pool, foreign, freed or no memory', async () => {
      using open = await world.open();
      const { dma } = open;
      const freed = dma.allocNoncoherent(PAGE, 'to-device');
      const { bytes } = freed;
      freed.free();
      const live = dma.allocNoncoherent(PAGE, 'to-device').bytes;
      for (const [what, view] of [
        ['coherent', dma.allocCoherent(PAGE).bytes],
        ['pool', dma.createPool('pool', { size: 64 }).alloc()!.bytes],
        ['foreign', new Uint8Array(PAGE)],
        ['freed', bytes],
        ['empty', live.subarray(0, 0)],
        ['no view', live.buffer],
        ['undefined', undefined],
      ] as const) {
        refused(dma, 'EINVAL', what, () => dma.cacheSync(view as Uint8Array, 'to-device'));
      }
      refused(dma, 'EINVAL', 'direction', () => dma.cacheSync(live, 'none' as DmaDirection));
      open.fn.close();
      assert.throws(() => dma.cacheSync(live, 'to-device'), { code: 'ENODEV' });
    });

    it('is refused without a size or a direction', async () => {
      using open = await world.open();
      const { dma } = open;
      for (const kind of KINDS) {
        for (const size of [0, -1, 1.5, Number.NaN, '1' as never]) {
          refused(dma, 'EINVAL', `${kind}(${size})`, () => dma[kind](size, 'to-device'));
        }
        refused(dma, 'EINVAL', kind, () => dma[kind](PAGE, 'DMA_NONE' as DmaDirection));
        refused(dma, 'ENOMEM', kind, () => dma[kind](2 ** 45, 'to-device'));
        const buffer: Turns = dma[kind](PAGE, 'to-device');
        for (const [offset, size] of [
          [0, PAGE + 1],
          [PAGE, 1],
          [-1, 1],
          [PAGE + 1, 0],
          [0.5, 1],
        ] as const) {
          refused(dma, 'EINVAL', `${kind}: ${size} at ${offset}`, () => buffer.syncForCpu(offset, size));
          refused(dma, 'EINVAL', `${kind}: ${size} at ${offset}`, () => buffer.syncForDevice(offset, size));
        }
        buffer.free();
      }
    });
  });
}
