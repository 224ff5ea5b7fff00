/** The same disk under this driver and under Linux's own: each reads what the other has written, to the last bit. */
import { createHash } from 'node:crypto';
import { NvmeController, type NvmeOptions } from '../../../examples/nvme/controller.ts';
import type { Namespace } from '../../../examples/nvme/namespace.ts';
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { type Extent, eachOf, Random } from '../../random.ts';
import { device } from '../devices.ts';
import { giveToLinux, readBlockDevice, takeFromLinux, writeBlockDevice } from './linux-disk.ts';

const MIB = 2 ** 20;
const SIZE = 64 * MIB;
const BLOCK = 512;
/** Reads and writes under way at once. */
const WIDTH = 8;
const address = device('USERDMA_TEST_NVME');

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Half of the work is done in one way, half in the other. */
const WAYS: readonly (NvmeOptions & { readonly what: string })[] = [
  { what: 'SGLs, by interrupt' },
  { what: 'PRPs, polled', sgl: false, completions: 'poll' },
];

async function withDisk(options: NvmeOptions, use: (disk: Namespace) => Promise<void>): Promise<void> {
  await using nvme = await NvmeController.open(await openPci(address), options);
  const [disk] = await nvme.namespaces();
  await use(disk!);
}

/** Work on all pieces, every second of them in the second way. */
async function inBothWays(
  verb: string,
  random: Random,
  work: (disk: Namespace, piece: Extent) => Promise<void>,
): Promise<void> {
  const pieces = random.extents(SIZE / BLOCK, MIB / BLOCK);
  for (const [i, { what, ...options }] of WAYS.entries()) {
    await withDisk(options, async (disk) => {
      assert.equal(disk.blockSize, BLOCK);
      const mine = pieces.filter((_, at) => at % WAYS.length === i);
      const bytes = mine.reduce((sum, { blocks }) => sum + blocks * BLOCK, 0);
      const started = performance.now();
      await eachOf(mine, WIDTH, (piece) => work(disk, piece));
      await disk.flush();
      const seconds = (performance.now() - started) / 1000;
      const rate = (bytes / MIB / seconds).toFixed(1);
      const sizes = `${(bytes / MIB).toFixed(1)} MiB in ${mine.length} pieces`;
      console.log(`  ${verb}, ${what}: ${sizes}, ${seconds.toFixed(2)} s, ${rate} MiB/s`);
    });
  }
}

function bytesOf(image: Buffer, { lba, blocks }: Extent): Buffer {
  return image.subarray(lba * BLOCK, (lba + blocks) * BLOCK);
}

function writeAll(image: Buffer, random: Random): Promise<void> {
  return inBothWays('wrote', random, async (disk, piece) => {
    const from = random.unaligned(piece.blocks * BLOCK);
    bytesOf(image, piece).copy(from);
    await disk.write(piece.lba, from);
  });
}

async function readAll(random: Random): Promise<Buffer> {
  const image = Buffer.alloc(SIZE);
  await inBothWays('read', random, async (disk, piece) => {
    const into = random.unaligned(piece.blocks * BLOCK);
    await disk.read(piece.lba, into);
    into.copy(bytesOf(image, piece));
  });
  return image;
}

describe('one disk, two drivers', () => {
  it('Linux reads what was written by VFIO', async () => {
    const random = new Random();
    const image = random.bytes(SIZE);
    await writeAll(image, random);
    assert.ok((await readAll(random)).equals(image), `seed ${random.seed}`);
    const node = await giveToLinux(address);
    try {
      assert.equal(sha256(readBlockDevice(node, SIZE)), sha256(image), `seed ${random.seed}`);
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
    assert.equal(sha256(await readAll(random)), sha256(image), `seed ${random.seed}`);
  }, 300_000);
});
