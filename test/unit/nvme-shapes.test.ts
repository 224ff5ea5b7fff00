/** Controllers of other shapes than QEMU's: what they say is what the driver goes by. */
import { afterEach, describe, expect, it } from 'vitest';
import { NvmeController } from '../../examples/nvme/controller.ts';
import { openPci } from '../../lib/index.ts';
import { EduModel, NvmeModel, type NvmeOptions, simulate } from '../../lib/sim/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';
import { Random } from '../nvme/random.ts';

const MIB = 2 ** 20;

checkDmaAfterEach(afterEach);

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

  it('none at all', async () => {
    using fn = await openPci(simulate(new EduModel()));
    await expect(NvmeController.open(fn)).rejects.toMatchObject({ code: 'ENODEV' });
  });
});
