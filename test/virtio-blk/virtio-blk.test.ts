/** One driver, two worlds: this file runs on the simulation and, inside the virtual machine, on QEMU's virtio-blk-pci. */
import { VirtioBlk, type VirtioBlkOptions } from '../../examples/virtio-blk/driver.ts';
import { DmaError, openPci } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { checkDmaAfterEach } from '../../lib/testing/index.ts';
import { afterEach, assert, describe, it } from '../harness.ts';
import { type Extent, eachOf, Random } from '../random.ts';
import { type VirtioBlkWorld, worlds } from './worlds.ts';

const SECTOR = 512;
const MIB = 2 ** 20;

const open = async (world: VirtioBlkWorld, options: VirtioBlkOptions = {}): Promise<VirtioBlk> =>
  VirtioBlk.open(await world.open(), options);

function hasCode(code: string, words = /./): (error: unknown) => boolean {
  return (error) => error instanceof DmaError && error.code === code && words.test(error.message);
}

checkDmaAfterEach(afterEach);

for (const world of worlds) {
  describe(`virtio-blk on ${world.name}`, () => {
    it('says what it is', async () => {
      await using disk = await open(world);
      assert.ok(disk.capacity >= 8 * MIB && disk.capacity % SECTOR === 0, String(disk.capacity));
      assert.deepEqual([disk.blockSize, disk.readOnly, disk.underWay], [SECTOR, false, 0]);
      assert.equal(await disk.serial(), world.serial);
    });

    it('reads what it has written, of every notable size and alignment', async () => {
      await using disk = await open(world);
      const random = new Random();
      for (const [sector, bytes] of [
        [0, SECTOR],
        [1, 7 * SECTOR],
        [9, 4096],
        [100, 3 * 4096 + SECTOR],
        [1000, MIB],
        [4000, 3 * MIB + SECTOR],
      ] as const) {
        const from = random.unaligned(bytes);
        from.set(random.bytes(bytes));
        const into = random.unaligned(bytes);
        await disk.write(sector, from);
        await disk.read(sector, into);
        assert.ok(into.equals(from), `${bytes} bytes at ${sector}, seed ${random.seed}`);
      }
      await disk.flush();
    });

    it('keeps many requests apart, in a queue that is too short for them', async () => {
      await using disk = await open(world, { queueSize: 8 });
      const random = new Random();
      const image = random.bytes(2 * MIB);
      const pieces = random.extents(image.length / SECTOR, 40);
      const part = (bytes: Buffer, { lba, blocks }: Extent) =>
        bytes.subarray(lba * SECTOR, (lba + blocks) * SECTOR);
      await eachOf(pieces, 50, (piece) => disk.write(piece.lba, part(image, piece)));
      const read = Buffer.alloc(image.length);
      await eachOf(pieces, 50, (piece) => disk.read(piece.lba, part(read, piece)));
      assert.ok(read.equals(image), `seed ${random.seed}`);
      assert.equal(disk.underWay, 0);
    }, 120_000);

    it('is restarted, and opened again', async () => {
      const from = new Uint8Array(4096).fill(0x5a);
      {
        await using disk = await open(world);
        await disk.write(64, from);
        const lost = disk.read(64, new Uint8Array(4096)).then(
          () => 'done',
          (error: DmaError) => error.code,
        );
        await disk.restart();
        assert.ok(['done', 'ECANCELED'].includes(await lost));
        const into = new Uint8Array(4096);
        await disk.read(64, into);
        assert.deepEqual(into, from);
      }
      await using again = await open(world);
      const into = new Uint8Array(4096);
      await again.read(64, into);
      assert.deepEqual(into, from);
    });

    it('refuses what is not on the disk', async () => {
      await using disk = await open(world);
      const end = disk.capacity / SECTOR;
      const one = new Uint8Array(SECTOR);
      for (const [sector, bytes] of [
        [end, one],
        [-1, one],
        [0.5, one],
        [Number.NaN, one],
        [end - 1, new Uint8Array(2 * SECTOR)],
        [0, new Uint8Array(100)],
        [0, new Uint8Array(0)],
        [0, undefined as never],
      ] as const) {
        await assert.rejects(disk.read(sector, bytes), hasCode('EINVAL'));
        await assert.rejects(disk.write(sector, bytes), hasCode('EINVAL'));
      }
      await disk.read(end - 1, one);
    });

    it('is closed for good', async () => {
      const disk = await open(world);
      await disk.close();
      await disk.close();
      const one = new Uint8Array(SECTOR);
      for (const call of [() => disk.read(0, one), () => disk.write(0, one), () => disk.flush()]) {
        await assert.rejects(call(), hasCode('ENODEV'));
      }
      await assert.rejects(disk.restart(), hasCode('ENODEV'));
      await assert.rejects(disk.serial(), hasCode('ENODEV'));
    });
  });
}

it('a device that is no virtio disk is refused, and closed', async () => {
  const fn = await openPci(simulate(new EduModel()));
  await assert.rejects(VirtioBlk.open(fn), hasCode('ENODEV', /1234:11e8/));
  assert.equal(fn.closed, true);
});
