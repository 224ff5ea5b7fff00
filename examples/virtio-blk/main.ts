/**
 * Shows the facts of a virtio disk, and reads it. With --write its first sectors are written, read back and restored.
 *
 *     npm run virtio-blk                           a simulated one
 *     npm run virtio-blk -- 0000:08:00.0 --write   that device, through VFIO
 */
import pc from 'picocolors';
import { openPci, type PciFunction } from '../../lib/index.ts';
import { main, progress, tool } from '../command.ts';
import { VirtioBlk } from './driver.ts';
import { simulateVirtioBlk } from './model.ts';

const SECTOR = 512;
const PIECE = 2 ** 16;

function open(target: string | undefined): Promise<PciFunction> {
  return target === undefined
    ? openPci(simulateVirtioBlk({ capacity: 2 ** 24, latency: 50 }))
    : openPci(target);
}

function line(what: string, text: string, detail = ''): void {
  console.log(`  ${what.padEnd(20)} ${text.padEnd(34)} ${pc.dim(detail)}`);
}

async function readAll(disk: VirtioBlk, bytes: number): Promise<void> {
  const started = performance.now();
  const into = new Uint8Array(bytes);
  const pieces: Promise<void>[] = [];
  for (let at = 0; at < bytes; at += PIECE) {
    pieces.push(disk.read(at / SECTOR, into.subarray(at, Math.min(at + PIECE, bytes))));
  }
  progress(`reading ${bytes} bytes`);
  await Promise.all(pieces);
  progress(undefined);
  const seconds = (performance.now() - started) / 1000;
  line('read', `${pc.green('✔')} ${bytes} bytes`, `${(bytes / 2 ** 20 / seconds).toFixed(1)} MiB/s`);
}

async function writeAndPutBack(disk: VirtioBlk): Promise<void> {
  const [before, pattern, after] = [new Uint8Array(4096), new Uint8Array(4096), new Uint8Array(4096)];
  pattern.forEach((_, i) => {
    pattern[i] = (i * 7 + 1) & 0xff;
  });
  await disk.read(0, before);
  try {
    await disk.write(0, pattern);
    await disk.flush();
    await disk.read(0, after);
  } finally {
    await disk.write(0, before);
    await disk.flush();
  }
  const same = Buffer.compare(pattern, after) === 0;
  if (!same) process.exitCode = 1;
  line(
    'written',
    same ? `${pc.green('✔')} read as written` : `${pc.red('✘')} read otherwise`,
    'and put back',
  );
}

async function run(target: string | undefined, { write }: { write?: boolean }): Promise<void> {
  const fn = await open(target);
  await using disk = await VirtioBlk.open(fn);
  console.log(`${pc.bold(`virtio-blk ${fn.address}`)} by ${pc.cyan(fn.transport)}, ${await disk.serial()}`);
  line('capacity', `${disk.capacity} bytes`, disk.readOnly ? 'read-only' : '');
  await readAll(disk, Math.min(disk.capacity, 2 ** 24));
  if (write) await writeAndPutBack(disk);
}

const command = tool('npm run virtio-blk --', 'Looks at a virtio disk, and reads it.')
  .argument('[address]', 'the function; without it a simulated disk')
  .option('--write', 'write the first sectors too, and put them back')
  .action(run);
await main(command);
