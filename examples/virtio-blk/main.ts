/**
 * Shows the facts of a virtio disk, and reads it. With --write its first sectors are written, read back and restored.
 *
 *     npm run virtio-blk                           a simulated one
 *     npm run virtio-blk -- 0000:08:00.0 --write   that device, through VFIO
 */
import { parseArgs } from 'node:util';
import pc from 'picocolors';
import { DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import { VirtioBlk } from './driver.ts';
import { simulateVirtioBlk } from './model.ts';

const USAGE = 'npm run virtio-blk -- [address] [--write]';
const SECTOR = 512;
const PIECE = 2 ** 16;

function settings(): { target: string | undefined; write: boolean; help: boolean } {
  try {
    const options = {
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    } as const;
    const { values, positionals } = parseArgs({ allowPositionals: true, options });
    return { target: positionals[0], write: values.write, help: values.help };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new DmaError('EINVAL', message, { remedy: USAGE, cause });
  }
}

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
  await Promise.all(pieces);
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

async function run(target: string | undefined, write: boolean): Promise<void> {
  const fn = await open(target);
  await using disk = await VirtioBlk.open(fn);
  console.log(`${pc.bold(`virtio-blk ${fn.address}`)} by ${pc.cyan(fn.transport)}, ${await disk.serial()}`);
  line('capacity', `${disk.capacity} bytes`, disk.readOnly ? 'read-only' : '');
  await readAll(disk, Math.min(disk.capacity, 2 ** 24));
  if (write) await writeAndPutBack(disk);
}

try {
  const { target, write, help } = settings();
  if (help) console.log(`usage: ${USAGE}`);
  else await run(target, write);
} catch (error) {
  if (!(error instanceof DmaError)) throw error;
  console.error(`${pc.red(error.code)} ${error.message}`);
  process.exitCode = 1;
}
