/** The same disk under this driver and under Linux's own: each reads what the other has written, to the last bit. */
import { createHash } from 'node:crypto';
import { NvmeController, type NvmeOptions } from '../../../examples/nvme/controller.ts';
import type { Namespace } from '../../../examples/nvme/namespace.ts';
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { type Extent, eachOf, Random } from '../../nvme/random.ts';
import { device } from '../devices.ts';
import { giveToLinux, readBlockDevice, takeFromLinux, writeBlockDevice } from './linux-nvme.ts';

const MIB = 2 ** 20;
const SIZE = 64 * MIB;
/** Reads and writes under way at once. */
const WIDTH = 8;
const address = device('USERDMA_TEST_NVME');

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function withDisk(options: NvmeOptions, use: (disk: Namespace) => Promise<void>): Promise<void> {
  await using nvme = await NvmeController.open(await openPci(address), options);
  const [disk] = await nvme.namespaces();
  await use(disk!);
}

function piecesOf(disk: Namespace, random: Random): Extent[] {
  return random.extents(SIZE / disk.blockSize, MIB / disk.blockSize);
}

function bytesOf(image: Buffer, disk: Namespace, { lba, blocks }: Extent): Buffer {
  return image.subarray(lba * disk.blockSize, (lba + blocks) * disk.blockSize);
}

function tell(what: string, pieces: readonly unknown[], started: number): void {
  const seconds = (performance.now() - started) / 1000;
  const rate = (SIZE / MIB / seconds).toFixed(1);
  console.log(`  ${what}: 64 MiB in ${pieces.length} pieces, ${seconds.toFixed(2)} s, ${rate} MiB/s`);
}

async function writeAll(disk: Namespace, image: Buffer, random: Random, what: string): Promise<void> {
  const pieces = piecesOf(disk, random);
  const started = performance.now();
  await eachOf(pieces, WIDTH, async (piece) => {
    const from = random.unaligned(piece.blocks * disk.blockSize);
    bytesOf(image, disk, piece).copy(from);
    await disk.write(piece.lba, from);
  });
  await disk.flush();
  tell(`${what} wrote`, pieces, started);
}

async function readAll(disk: Namespace, random: Random, what: string): Promise<Buffer> {
  const image = Buffer.alloc(SIZE);
  const pieces = piecesOf(disk, random);
  const started = performance.now();
  await eachOf(pieces, WIDTH, async (piece) => {
    const into = random.unaligned(piece.blocks * disk.blockSize);
    await disk.read(piece.lba, into);
    into.copy(bytesOf(image, disk, piece));
  });
  tell(`${what} read`, pieces, started);
  return image;
}

describe('one disk, two drivers', () => {
  for (const options of [{}, { sgl: false, completions: 'poll' as const }]) {
    const what = 'sgl' in options ? 'PRPs, polled' : 'SGLs, interrupts';

    it(`Linux reads what was written by VFIO (${what})`, async () => {
      const random = new Random();
      console.log(`  seed ${random.seed}`);
      const image = random.bytes(SIZE);
      await withDisk(options, async (disk) => {
        await writeAll(disk, image, random, what);
        assert.ok((await readAll(disk, random, what)).equals(image), `seed ${random.seed}`);
      });
      const node = await giveToLinux(address);
      try {
        assert.equal(sha256(readBlockDevice(node, SIZE)), sha256(image), `seed ${random.seed}`);
      } finally {
        takeFromLinux(address);
      }
    }, 300_000);

    it(`what Linux wrote is read by VFIO (${what})`, async () => {
      const random = new Random();
      console.log(`  seed ${random.seed}`);
      const image = random.bytes(SIZE);
      const node = await giveToLinux(address);
      try {
        writeBlockDevice(node, image);
      } finally {
        takeFromLinux(address);
      }
      await withDisk(options, async (disk) => {
        assert.equal(sha256(await readAll(disk, random, what)), sha256(image), `seed ${random.seed}`);
      });
    }, 300_000);
  }
});
