/**
 * The same disk under this driver and under Linux's, measured in turns: random reads of 4 KiB, by fio with libaio and
 * O_DIRECT there. Overwrites the disk.
 *
 *     USERDMA_VM_MACHINE=pcie npm run vm -- node dist/test/vm/pcie/nvme-bench.js [options] [rounds [seconds]]
 *
 *     --beside COMMAND          another program that drives the function itself, through VFIO, in the same turns
 *     --beside-linux COMMAND    another program that uses the node of Linux's driver
 *
 * COMMAND is for a shell. It finds ADDRESS (or NODE), DEPTH, SIZE (bytes) and SECONDS in its environment, and ends its
 * output with a line of three numbers: commands a second, and the median and the 99th percentile of their latency in
 * microseconds.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { type CompletionMode, NvmeController } from '../../../examples/nvme/controller.ts';
import { measure } from '../../../examples/nvme/load.ts';
import { table } from '../../../lib/cli/output.ts';
import { openPci } from '../../../lib/index.ts';
import { median } from '../../bench/judge.ts';
import { Random } from '../../random.ts';
import { giveToLinux, takeFromLinux } from './linux-disk.ts';

const address = process.env.USERDMA_TEST_NVME!;
const { values: others, positionals } = parseArgs({
  options: { beside: { type: 'string' }, 'beside-linux': { type: 'string' } },
  allowPositionals: true,
});
const rounds = Number(positionals[0] ?? 3);
const seconds = Number(positionals[1] ?? 4);
const SIZE = 4096;
const DEPTHS = [1, 32];
const MIB = 2 ** 20;

/** Of one run; latencies in microseconds. */
interface Figures {
  readonly iops: number;
  readonly p50: number;
  readonly p99: number;
}

async function ours(depth: number, completions: CompletionMode): Promise<Figures> {
  await using nvme = await NvmeController.open(await openPci(address), { depth, completions });
  const disk = await nvme.namespace(1);
  const load = { depth, size: SIZE, write: false, random: true, seconds };
  const { commands, seconds: took, percentile } = await measure(nvme, disk, nvme.queues[0]!, load);
  return { iops: commands / took, p50: percentile(50), p99: percentile(99) };
}

interface FioReport {
  readonly jobs: readonly {
    readonly read: {
      readonly iops: number;
      readonly lat_ns: { readonly percentile: Readonly<Record<string, number>> };
    };
  }[];
}

function fio(node: string, depth: number): Figures {
  const options = {
    name: 'read',
    filename: node,
    ioengine: 'libaio',
    direct: 1,
    rw: 'randread',
    bs: SIZE,
    iodepth: depth,
    runtime: seconds,
    time_based: 1,
    lat_percentiles: 1,
    'output-format': 'json',
  };
  const { stdout, stderr } = spawnSync(
    'fio',
    Object.entries(options).map(([name, value]) => `--${name}=${value}`),
    { encoding: 'utf8' },
  );
  const start = stdout.indexOf('{');
  if (start < 0) throw new Error(`fio: ${stderr}`);
  const [job] = (JSON.parse(stdout.slice(start)) as FioReport).jobs;
  const { iops, lat_ns } = job!.read;
  return {
    iops,
    p50: lat_ns.percentile['50.000000']! / 1000,
    p99: lat_ns.percentile['99.000000']! / 1000,
  };
}

/** The figures that another program prints. @param where ADDRESS or NODE */
function other(command: string, depth: number, where: Readonly<Record<string, string>>): Figures {
  const env = { DEPTH: depth, SIZE, SECONDS: seconds };
  const words = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)]));
  const { stdout, stderr, status } = spawnSync('sh', ['-c', command], {
    encoding: 'utf8',
    env: { ...process.env, ...words, ...where },
  });
  const [iops, p50, p99] = (stdout.trim().split('\n').at(-1) ?? '').trim().split(/\s+/).map(Number);
  if (status !== 0 || !(iops! > 0 && p50! >= 0 && p99! >= 0)) {
    throw new Error(`${command}: exit status ${status}, and no three numbers at the end\n${stdout}${stderr}`);
  }
  return { iops: iops!, p50: p50!, p99: p99! };
}

/** Reads of what was never written may be answered without reading. */
async function fill(): Promise<void> {
  await using nvme = await NvmeController.open(await openPci(address));
  const disk = await nvme.namespace(1);
  const part = new Random(1).bytes(8 * MIB);
  for (let at = 0; at < disk.blocks * disk.blockSize; at += part.length) {
    await disk.write(at / disk.blockSize, part);
  }
  await disk.flush();
}

function row(depth: number, who: string, runs: readonly Figures[], linux: readonly Figures[]): string[] {
  const columns = (['iops', 'p50', 'p99'] as const).map((name) => {
    const value = median(runs.map((run) => run[name]));
    return `${value.toFixed(0)} (${(value / median(linux.map((run) => run[name]))).toFixed(2)})`;
  });
  return [String(depth), ...columns, who];
}

await fill();
console.log(`medians of ${rounds} rounds of ${seconds} s, and times Linux's`);
const rows: string[][] = [];
for (const depth of DEPTHS) {
  const linux: Figures[] = [];
  const polled: Figures[] = [];
  const interrupted: Figures[] = [];
  const beside: Figures[] = [];
  const besideLinux: Figures[] = [];
  for (let round = 0; round < rounds; round++) {
    polled.push(await ours(depth, 'poll'));
    interrupted.push(await ours(depth, 'interrupt'));
    if (others.beside !== undefined) beside.push(other(others.beside, depth, { ADDRESS: address }));
    const NODE = await giveToLinux(address);
    linux.push(fio(NODE, depth));
    if (others['beside-linux'] !== undefined)
      besideLinux.push(other(others['beside-linux'], depth, { NODE }));
    takeFromLinux(address);
  }
  rows.push(
    row(depth, 'Linux, fio', linux, linux),
    row(depth, 'this one, interrupts', interrupted, linux),
    row(depth, 'this one, polled', polled, linux),
    ...(beside.length > 0 ? [row(depth, 'beside', beside, linux)] : []),
    ...(besideLinux.length > 0 ? [row(depth, 'beside, by Linux', besideLinux, linux)] : []),
  );
}
console.log(table(['depth', 'IOPS', 'p50 us', 'p99 us', 'driver'], rows, 4));
