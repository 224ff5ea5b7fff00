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
import { parseArgs } from 'node:util';
import pc from 'picocolors';
import { DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import { NvmeModel, simulate } from '../../lib/sim/index.ts';
import { NvmeController, type NvmeOptions } from './controller.ts';
import { type LoadOptions, measure } from './load.ts';
import type { Namespace } from './namespace.ts';

const USAGE = `usage: nvme info | read | write | bench [options]
  --device sim | domain:bus:device.function   (sim)
  --namespace N   (1)         --lba N   (0)         --blocks N   (8)         --file PATH
  --depth N   (32)            --size BYTES   (4096) --seconds S   (5)
  --write, --sequential       what the load does
  --poll, --prp               no interrupts; no SGLs
  --overwrite                 needed to write to a real disk`;

const SIMULATION = 'sim';

const ARGUMENTS = {
  allowPositionals: true,
  options: {
    device: { type: 'string', default: SIMULATION },
    namespace: { type: 'string', default: '1' },
    lba: { type: 'string', default: '0' },
    blocks: { type: 'string', default: '8' },
    file: { type: 'string' },
    depth: { type: 'string', default: '32' },
    size: { type: 'string', default: '4096' },
    seconds: { type: 'string', default: '5' },
    write: { type: 'boolean', default: false },
    sequential: { type: 'boolean', default: false },
    poll: { type: 'boolean', default: false },
    prp: { type: 'boolean', default: false },
    overwrite: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
} as const;

function usage(complaint = ''): never {
  console.error(`${complaint}${USAGE}`);
  process.exit(2);
}

function parse(): ReturnType<typeof parseArgs<typeof ARGUMENTS>> {
  try {
    return parseArgs(ARGUMENTS);
  } catch (error) {
    return usage(`${(error as Error).message}\n`);
  }
}

const { values: flags, positionals } = parse();

type NumberFlag = 'namespace' | 'lba' | 'blocks' | 'depth' | 'size' | 'seconds';

/** @throws DmaError EINVAL */
function numberOf(name: NumberFlag): number {
  const value = Number(flags[name]);
  if (value >= 0) return value;
  throw new DmaError('EINVAL', `--${name} ${flags[name]}`, { remedy: 'pass a number' });
}

/** dma-debug is off, because it would be part of the measurement. */
function open(): Promise<PciFunction> {
  const { device } = flags;
  return device === SIMULATION ? openPci(simulate(new NvmeModel()), { debug: false }) : openPci(device);
}

/** @throws DmaError EPERM */
function checkOverwrite(): void {
  if (flags.device === SIMULATION || flags.overwrite) return;
  throw new DmaError('EPERM', `this would overwrite data on ${flags.device}`, {
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

async function read(disk: Namespace): Promise<void> {
  const bytes = Buffer.alloc(numberOf('blocks') * disk.blockSize);
  await disk.read(numberOf('lba'), bytes);
  if (flags.file !== undefined) writeFileSync(flags.file, bytes);
  else console.log(hexdump(bytes, numberOf('lba') * disk.blockSize));
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

async function write(disk: Namespace): Promise<void> {
  if (flags.file === undefined) throw new DmaError('EINVAL', 'nothing to write', { remedy: 'pass --file' });
  const bytes = readFileSync(flags.file);
  await disk.write(numberOf('lba'), bytes);
  await disk.flush();
  console.log(`${bytes.length} bytes written and flushed`);
}

async function bench(nvme: NvmeController, disk: Namespace): Promise<void> {
  const load: LoadOptions = {
    depth: numberOf('depth'),
    size: numberOf('size'),
    write: flags.write,
    random: !flags.sequential,
    seconds: numberOf('seconds'),
  };
  const { commands, seconds, percentile } = await measure(nvme, disk, nvme.queues[0]!, load);
  const what = `${flags.sequential ? 'sequential' : 'random'} ${flags.write ? 'writes' : 'reads'}`;
  const how = flags.poll ? 'polled' : 'by interrupt';
  console.log(pc.bold(`${what} of ${load.size} bytes, ${load.depth} at once, ${how}`));
  line('commands', commands);
  line('IOPS', Math.round(commands / seconds));
  line('MB/s', ((commands * load.size) / seconds / 1e6).toFixed(1));
  for (const percent of [50, 99, 99.9]) line(`p${percent}`, `${percentile(percent).toFixed(1)} us`);
}

async function run(command: string | undefined): Promise<void> {
  if (flags.help) {
    console.log(USAGE);
    return;
  }
  if (command === undefined) usage();
  if (!['info', 'read', 'write', 'bench'].includes(command)) usage(`there is no command ${command}\n`);
  if (command === 'write' || (command === 'bench' && flags.write)) checkOverwrite();
  const options: NvmeOptions = {
    depth: Math.max(1, numberOf('depth')),
    completions: flags.poll ? 'poll' : 'interrupt',
    sgl: !flags.prp,
  };
  using fn = await open();
  await using nvme = await NvmeController.open(fn, options);
  if (command === 'info') {
    await info(nvme);
    return;
  }
  const disk = await nvme.namespace(numberOf('namespace'));
  if (command === 'read') await read(disk);
  else if (command === 'write') await write(disk);
  else await bench(nvme, disk);
}

/** An error of a system call on --file. */
function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'path' in error;
}

try {
  await run(positionals[0]);
} catch (error) {
  if (!(error instanceof DmaError) && !isFileError(error)) throw error;
  console.error(error instanceof DmaError ? `${pc.red(error.code)} ${error.message}` : pc.red(error.message));
  process.exitCode = 1;
}
