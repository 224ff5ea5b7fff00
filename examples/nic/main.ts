/**
 * Sends packets through an e1000e in MAC loopback, checks each, and prints the speed.
 *
 *     npm run nic                                  a simulated one
 *     npm run nic -- 0000:03:00.0                  that device, through VFIO
 *     npm run nic -- e1000e --batch 1 --size 1514  the first one of this machine; packets one by one
 */
import { parseArgs } from 'node:util';
import pc from 'picocolors';
import { DmaError, findPci, openPci, type PciFunction } from '../../lib/index.ts';
import { E1000e } from './driver.ts';
import { circulate, latencies, type Result, SIZES, verify } from './measure.ts';
import { simulateE1000e } from './model.ts';
import { E1000E_DEVICE, INTEL } from './registers.ts';

const USAGE = 'npm run nic -- [address | e1000e] [--packets n] [--size bytes] [--batch n] [--descriptors n]';

interface Settings {
  readonly target: string | undefined;
  readonly packets: number;
  readonly size: number;
  readonly batch: number;
  readonly descriptors: number;
}

/** @throws DmaError EINVAL */
function settings(): Settings {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        packets: { type: 'string', default: '20000' },
        size: { type: 'string', default: '60' },
        batch: { type: 'string', default: '32' },
        descriptors: { type: 'string', default: '256' },
      },
    });
    const { packets, size, batch, descriptors } = values;
    return {
      target: positionals[0],
      packets: number('packets', packets, 1, 1e9),
      size: number('size', size, SIZES.from, SIZES.to),
      batch: number('batch', batch, 1, 1024),
      descriptors: number('descriptors', descriptors, 64, 4096),
    };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new DmaError('EINVAL', message, { remedy: USAGE, cause });
  }
}

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`--${name} ${text} is no whole number from ${least} to ${most}`);
}

async function open(target: string | undefined): Promise<PciFunction> {
  // With debugging, most of the time would go there.
  if (target === undefined) return openPci(simulateE1000e(), { debug: false });
  if (target !== 'e1000e') return openPci(target);
  const [address] = findPci(INTEL, E1000E_DEVICE);
  if (address !== undefined) return openPci(address);
  throw new DmaError('ENODEV', 'this machine has no e1000e', {
    remedy:
      'run `npm run nic` for a simulated one, or `USERDMA_VM_MACHINE=pcie npm run vm -- npm run nic -- e1000e`',
  });
}

function line(what: string, text: string, detail = ''): void {
  console.log(`  ${what.padEnd(28)} ${text.padEnd(34)} ${pc.dim(detail)}`);
}

function report(what: string, { packets, wrong, elapsed }: Result): void {
  if (wrong > 0) process.exitCode = 1;
  const verdict = wrong === 0 ? `${pc.green('✔')} all as sent` : `${pc.red('✘')} ${wrong} are not`;
  const rate = Math.round((packets / elapsed) * 1e6).toLocaleString('en');
  line(what, verdict, `${rate} packets/s, ${(elapsed / packets).toFixed(2)} us each`);
}

async function run(fn: PciFunction, { packets, size, batch, descriptors }: Settings): Promise<void> {
  using nic = new E1000e(fn, { descriptors, loopback: true });
  const { up, speed } = nic.link;
  console.log(
    `${pc.bold(`e1000e ${fn.address}`)} by ${pc.cyan(fn.transport)}, ${nic.macAddress}, MAC loopback`,
  );
  line('link', up ? `${pc.green('✔')} up, ${speed} Mbit/s` : `${pc.red('✘')} down`);
  report(`${packets} frames of every size`, await verify(nic, packets));
  report(`${packets} of ${size} B forwarded`, await circulate(nic, { packets, size, batch }));
  const took = await latencies(nic, 200);
  const at = (part: number) => `${took[Math.floor(took.length * part)]!.toFixed(0)} us`;
  line('doorbell to interrupt', `p50 ${at(0.5)}, p99 ${at(0.99)}`, `${took.length} packets`);
  const { packetsSent, packetsReceived, missed, crcErrors } = nic.statistics();
  line(
    'counted',
    `${packetsSent} sent, ${packetsReceived} received`,
    `${missed} missed, ${crcErrors} CRC errors`,
  );
}

try {
  if (process.argv.includes('--help')) console.log(`usage: ${USAGE}`);
  else {
    const chosen = settings();
    using fn = await open(chosen.target);
    await run(fn, chosen);
  }
} catch (error) {
  if (!(error instanceof DmaError)) throw error;
  console.error(`${pc.red(error.code)} ${error.message}`);
  process.exitCode = 1;
}
