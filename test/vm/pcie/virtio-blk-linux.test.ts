/** The same virtio disk under this driver and under Linux's own: each reads what the other has written, to the last bit. */
import { VirtioBlk } from '../../../examples/virtio-blk/driver.ts';
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { type Extent, eachOf, Random } from '../../random.ts';
import { device } from '../devices.ts';
import { giveToLinux, readBlockDevice, takeFromLinux, writeBlockDevice } from './linux-disk.ts';

const MIB = 2 ** 20;
const SIZE = 32 * MIB;
const SECTOR = 512;
/** Reads and writes under way at once. */
const WIDTH = 8;
const address = device('USERDMA_TEST_VIRTIO_BLK');

async function onAll(random: Random, work: (disk: VirtioBlk, piece: Extent) => Promise<void>): Promise<void> {
  await using disk = await VirtioBlk.open(await openPci(address));
  await eachOf(random.extents(SIZE / SECTOR, MIB / SECTOR), WIDTH, (piece) => work(disk, piece));
  await disk.flush();
}

function bytesOf(image: Buffer, { lba, blocks }: Extent): Buffer {
  return image.subarray(lba * SECTOR, (lba + blocks) * SECTOR);
}

describe('one virtio disk, two drivers', () => {
  it('Linux reads what was written by VFIO', async () => {
    const random = new Random();
    const image = random.bytes(SIZE);
    await onAll(random, async (disk, piece) => {
      const from = random.unaligned(piece.blocks * SECTOR);
      bytesOf(image, piece).copy(from);
      await disk.write(piece.lba, from);
    });
    const node = await giveToLinux(address);
    try {
      assert.ok(readBlockDevice(node, SIZE).equals(image), `seed ${random.seed}`);
    } finally {
      takeFromLinux(address);
    }
  }, 300_000);

  it('what Linux wrote is read by VFIO', async () => {
    const random = new Random();
    const image = random.bytes(SIZE);
    const node = await giveToLinux(address);
    try {
      writeBlockDevice(node, image);
    } finally {
      takeFromLinux(address);
    }
    const read = Buffer.alloc(SIZE);
    await onAll(random, async (disk, piece) => {
      const into = random.unaligned(piece.blocks * SECTOR);
      await disk.read(piece.lba, into);
      into.copy(bytesOf(read, piece));
    });
    assert.ok(read.equals(image), `seed ${random.seed}`);
  }, 300_000);
});
