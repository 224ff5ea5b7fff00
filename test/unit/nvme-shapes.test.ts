/** Controllers of other shapes than QEMU's: what they say is what the driver goes by. */
import { afterEach, describe, expect, it } from 'vitest';
import { NvmeController } from '../../examples/nvme/controller.ts';
import { measure } from '../../examples/nvme/load.ts';
import { Namespace } from '../../examples/nvme/namespace.ts';
import { openPci } from '../../lib/index.ts';
import { EduModel, NvmeModel, type NvmeOptions, simulate, type Width } from '../../lib/sim/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';
import { Random } from '../random.ts';

const MIB = 2 ** 20;

checkDmaAfterEach(afterEach);

/** CAP with other bits set in its upper half, and cleared in its lower one. */
class Claims extends NvmeModel {
  readonly #high: number;
  readonly #low: number;

  constructor(options: NvmeOptions, { high = 0, low = 0 }) {
    super(options);
    this.#high = high;
    this.#low = low;
  }

  override read(bar: number, offset: number, width: Width): number {
    const value = super.read(bar, offset, width);
    if (width !== 4 || offset > 4) return value;
    return offset === 0 ? value & ~this.#low : value | this.#high;
  }
}

/** CAP.MPSMIN and CAP.TO. */
const PAGES_OF_64_KIB = 4 << 16;
const TIMEOUT = 0xff << 24;

async function open(model: NvmeOptions, options = {}): Promise<NvmeController> {
  return NvmeController.open(await openPci(simulate(new NvmeModel(model))), options);
}

describe('NVMe controllers of other shapes', () => {
  it.each([
    ['blocks of 4 KiB', { namespaces: [{ blockSize: 4096 }] }, {}],
    ['doorbells that are far apart', { doorbellStride: 4 }, { queues: 4 }],
    ['one page a command', { maxTransfer: 0 }, { maxTransfer: 4096 }],
    ['two pages a command', { maxTransfer: 1 }, {}],
    ['no limit of a command', { maxTransfer: 0 }, { maxTransfer: 8 * MIB }],
    ['two pages and PRPs', { maxTransfer: 1 }, { sgl: false }],
    ['time that passes', { latency: 100 }, { queues: 2, completions: ['poll', 'interrupt'] }],
  ] as const)('%s', async (_what, model, options) => {
    await using nvme = await open(model, options);
    const [disk] = await nvme.namespaces();
    const random = new Random();
    const data = random.bytes(9 * MIB);
    await disk!.write(3, data);
    const back = random.unaligned(data.length);
    await disk!.read(3, back);
    expect(back.equals(data), `seed ${random.seed}`).toBe(true);
    await disk!.writeZeroes(3, data.length / disk!.blockSize);
    await disk!.read(3, back);
    expect(back.every((byte) => byte === 0)).toBe(true);
  });

  it('several namespaces, which know nothing of each other', async () => {
    const namespaces = [
      { capacity: MIB },
      { capacity: 2 * MIB, blockSize: 4096 as const },
      { capacity: 4096 },
    ];
    await using nvme = await open({ namespaces }, { queues: 2 });
    const disks = await nvme.namespaces();
    expect(disks.map(({ id, blocks, blockSize }) => [id, blocks, blockSize])).toEqual([
      [1, 2048, 512],
      [2, 512, 4096],
      [3, 8, 512],
    ]);
    await Promise.all(disks.map((disk) => disk.write(0, new Uint8Array(4096).fill(disk.id))));
    for (const disk of disks) {
      const back = new Uint8Array(4096);
      await disk.read(0, back);
      expect(back.every((byte) => byte === disk.id)).toBe(true);
    }
  });

  it('fewer queues than were asked for, and vectors', async () => {
    await using nvme = await open({ ioQueues: 2 }, { queues: 8 });
    expect(nvme.queues.length).toBe(2);
    expect(nvme.queues.map(({ interrupt }) => interrupt?.vector)).toEqual([1, 2]);
  });

  it('pages of 64 KiB, at which rings begin', async () => {
    for (const sgl of [false, true]) {
      const source = simulate(new Claims({ maxTransfer: 0 }, { high: PAGES_OF_64_KIB }));
      await using nvme = await NvmeController.open(await openPci(source), { queues: 3, depth: 8, sgl });
      const [disk] = await nvme.namespaces();
      const random = new Random();
      const data = random.bytes(5 * MIB);
      await disk!.write(3, data);
      const back = random.unaligned(data.length);
      await disk!.read(3, back);
      expect(back.equals(data), `seed ${random.seed}`).toBe(true);
      expect(source.faults).toEqual([]);
    }
  });

  it('one that says that starting takes no time', async () => {
    class Late extends Claims {
      reads = 0;
      override read(bar: number, offset: number, width: Width): number {
        const value = super.read(bar, offset, width);
        return offset === 0x1c && value === 1 && this.reads++ < 3 ? 0 : value;
      }
    }
    const model = new Late({}, { low: TIMEOUT });
    await using nvme = await NvmeController.open(await openPci(simulate(model)));
    expect(model.reads).toBeGreaterThan(3);
    expect(nvme.state).toBe('live');
  });

  it('namespaces that are not there, or whose blocks no command takes', async () => {
    await using nvme = await open({}, { maxTransfer: 8192 });
    await expect(nvme.namespace(7)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(nvme.namespace(1000)).rejects.toMatchObject({ code: 'EINVAL', status: 11 });
    const { identity } = await nvme.namespace(1);
    for (const change of [{ metadataSize: 8 }, { blockSize: 16_384 }]) {
      expect(() => new Namespace(nvme, 1, { ...identity, ...change })).toThrow(
        expect.objectContaining({ code: 'EOPNOTSUPP' }),
      );
    }
    expect(new Namespace(nvme, 1, { ...identity, blockSize: 8192 }).blockSize).toBe(8192);
  });

  it('blocks far beyond 2^32, of a namespace that is trimmed whole', async () => {
    await using nvme = await open({ namespaces: [{ capacity: 2 ** 44 }] });
    const [disk] = await nvme.namespaces();
    const random = new Random();
    const data = random.bytes(3 * MIB);
    const lba = disk!.blocks - data.length / 512;
    await disk!.write(lba, data);
    const back = new Uint8Array(data.length);
    await disk!.read(lba, back);
    expect(Buffer.compare(back, data), `seed ${random.seed}`).toBe(0);
    await expect(disk!.read(lba + 1, back)).rejects.toMatchObject({ code: 'EINVAL', status: 128 });
    // In a few seconds, not in the minutes that its blocks would take one by one.
    await disk!.trim(0, disk!.blocks);
    await disk!.read(lba, back);
    expect(back.every((byte) => byte === 0)).toBe(true);
  });

  it('a load that no queue can have', async () => {
    await using nvme = await open({}, { depth: 4 });
    const [disk] = await nvme.namespaces();
    const load = { depth: 4, size: 512, write: false, random: true, seconds: 0.001 };
    for (const change of [{ depth: 0 }, { depth: 5 }, { depth: 1.5 }, { size: 0 }, { size: 513 }]) {
      const attempt = measure(nvme, disk!, nvme.queues[0]!, { ...load, ...change });
      await expect(attempt).rejects.toMatchObject({ code: 'EINVAL' });
    }
    expect((await measure(nvme, disk!, nvme.queues[0]!, load)).commands).toBeGreaterThan(3);
  });

  it('none at all', async () => {
    using fn = await openPci(simulate(new EduModel()));
    await expect(NvmeController.open(fn)).rejects.toMatchObject({ code: 'ENODEV' });
  });
});
