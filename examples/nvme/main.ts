/**
 * A command-line tool that uses the driver.
 *
 *     npm run nvme -- info                                    the simulated controller
 *     npm run nvme -- info --device 0000:01:00.0              that function, through VFIO
 *     npm run nvme -- read --lba 0 --blocks 8 --file out.bin  to a file; without --file, as hexadecimal
 *     npm run nvme -- write --lba 0 --file in.bin --overwrite
 *     npm run nvme -- bench --depth 32 --size 4096 --seconds 5 [--write --overwrite] [--sequential] [--poll]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import pc from 'picocolors';
import { DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import { NvmeModel, simulate } from '../../lib/sim/index.ts';
import { main, progress, tool, whole } from '../command.ts';
import { NvmeController, type NvmeOptions } from './controller.ts';
import { type LoadOptions, measure } from './load.ts';
import type { Namespace } from './namespace.ts';

const SIMULATION = 'sim';
/** Bytes that are read at once. Their hexadecimal digits are one text, and a text has at most half a gigabyte. */
const MOST_READ = 2 ** 27;

interface Flags {
  readonly device: string;
  readonly namespace: number;
  readonly lba: number;
  readonly blocks: number;
  readonly file?: string;
  readonly depth: number;
  readonly size: number;
  readonly seconds: number;
  readonly write?: boolean;
  readonly sequential?: boolean;
  readonly poll?: boolean;
  readonly prp?: boolean;
  readonly overwrite?: boolean;
}

/** dma-debug is off, because it would be part of the measurement. */
function open({ device }: Flags): Promise<PciFunction> {
  return device === SIMULATION ? openPci(simulate(new NvmeModel()), { debug: false }) : openPci(device);
}

/** @throws DmaError EPERM */
function checkOverwrite({ device, overwrite = false }: Flags): void {
  if (device === SIMULATION || overwrite) return;
  throw new DmaError('EPERM', `this would overwrite data on ${device}`, {
    remedy: 'pass --overwrite if the data is not needed',
  });
}

function line(name: string, value: unknown): void {
  console.log(`  ${name.padEnd(18)} ${pc.cyan(String(value))}`);
}

async function info(nvme: NvmeController): Promise<void> {
  const { fn, identity } = nvme;
  console.log(pc.bold(`${identity.model} at ${fn.address}, by ${fn.transport}`));
  line('serial, firmware', `${identity.serial}, ${identity.firmware}`);
  line('NVMe', identity.version);
  line('largest command', `${nvme.maxTransfer} bytes`);
  line('SGLs', identity.sgl === 'none' ? 'none' : `of ${identity.sgl}`);
  const health = await nvme.admin.health();
  line('temperature', `${health.temperature} °C, ${health.percentageUsed} % used`);
  line('media errors', health.mediaErrors);
  line('error log', `${(await nvme.admin.errors(identity.errorEntries)).length} entries`);
  for (const { id, blocks, blockSize } of await nvme.namespaces()) {
    line(`namespace ${id}`, `${blocks} blocks of ${blockSize} bytes`);
  }
}

async function read(disk: Namespace, { blocks, lba, file }: Flags): Promise<void> {
  if (blocks * disk.blockSize > MOST_READ) {
    throw new DmaError('EINVAL', `${blocks} blocks are too many at once`, {
      remedy: `read at most ${MOST_READ / disk.blockSize}`,
    });
  }
  const bytes = Buffer.alloc(blocks * disk.blockSize);
  progress(`reading ${bytes.length} bytes`);
  await disk.read(lba, bytes);
  progress(undefined);
  if (file !== undefined) writeFileSync(file, bytes);
  else console.log(hexdump(bytes, lba * disk.blockSize));
}

/** Thirty-two bytes a line, after their offset on the disk. */
function hexdump(bytes: Buffer, offset: number): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 32) {
    const start = (offset + at).toString(16).padStart(10, '0');
    lines.push(`${start}  ${bytes.toString('hex', at, at + 32)}`);
  }
  return lines.join('\n');
}

async function write(disk: Namespace, { file, lba }: Flags): Promise<void> {
  if (file === undefined) throw new DmaError('EINVAL', 'nothing to write', { remedy: 'pass --file' });
  const bytes = readFileSync(file);
  progress(`writing ${bytes.length} bytes`);
  await disk.write(lba, bytes);
  await disk.flush();
  progress(undefined);
  console.log(`${bytes.length} bytes written and flushed`);
}

async function bench(nvme: NvmeController, disk: Namespace, flags: Flags): Promise<void> {
  const { depth, size, seconds: wanted, write = false, sequential = false } = flags;
  const load: LoadOptions = { depth, size, write, random: !sequential, seconds: wanted };
  progress(`measuring for ${wanted} s`);
  const { commands, seconds, percentile } = await measure(nvme, disk, nvme.queues[0]!, load);
  progress(undefined);
  const what = `${sequential ? 'sequential' : 'random'} ${write ? 'writes' : 'reads'}`;
  const how = flags.poll ? 'polled' : 'by interrupt';
  console.log(pc.bold(`${what} of ${load.size} bytes, ${load.depth} at once, ${how}`));
  line('commands', commands);
  line('IOPS', Math.round(commands / seconds));
  line('MB/s', ((commands * load.size) / seconds / 1e6).toFixed(1));
  for (const percent of [50, 99, 99.9]) line(`p${percent}`, `${percentile(percent).toFixed(1)} us`);
}

async function run(work: (nvme: NvmeController, flags: Flags) => Promise<void>, flags: Flags): Promise<void> {
  const options: NvmeOptions = {
    depth: flags.depth,
    completions: flags.poll ? 'poll' : 'interrupt',
    sgl: !flags.prp,
  };
  using fn = await open(flags);
  await using nvme = await NvmeController.open(fn, options);
  await work(nvme, flags);
}

const nvme = tool('npm run nvme --', 'Looks at an NVMe controller, reads, writes and measures.')
  .option('--device <address>', 'the function, or `sim`: the simulated controller', SIMULATION)
  .option('--namespace <n>', 'number of the namespace', whole(1, 2 ** 32 - 2), 1)
  .option('--lba <n>', 'the first block', whole(0, Number.MAX_SAFE_INTEGER), 0)
  .option('--blocks <n>', 'blocks to read', whole(1, 2 ** 32), 8)
  .option('--file <path>', 'where the bytes go, or come from')
  .option('--depth <n>', 'commands at once', whole(1, 65_535), 32)
  .option('--size <bytes>', 'bytes of a command of the load', whole(1, 2 ** 32), 4096)
  .option('--seconds <s>', 'how long to measure', whole(1, 86_400), 5)
  .option('--write', 'the load writes')
  .option('--sequential', 'the load is sequential')
  .option('--poll', 'no interrupts')
  .option('--prp', 'no SGLs')
  .option('--overwrite', 'needed to write to a real disk');

/** Options stand before or after the command: they belong to all of them. */
function command(
  name: string,
  text: string,
  work: (nvme: NvmeController, flags: Flags) => Promise<void>,
): void {
  nvme
    .command(name)
    .description(text)
    .action(() => {
      const flags = nvme.opts<Flags>();
      if (name === 'write' || (name === 'bench' && flags.write)) checkOverwrite(flags);
      return run(work, flags);
    });
}

const onDisk =
  (work: (disk: Namespace, flags: Flags) => Promise<void>) =>
  async (controller: NvmeController, flags: Flags): Promise<void> =>
    work(await controller.namespace(flags.namespace), flags);

command('info', 'what the controller says of itself', info);
command('read', 'read blocks; without --file as hexadecimal, after their offsets', onDisk(read));
command('write', 'write a file', onDisk(write));
command('bench', 'measure random reads', async (controller, flags) =>
  bench(controller, await controller.namespace(flags.namespace), flags),
);
await main(nvme);
