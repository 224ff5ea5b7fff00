/**
 * Sends packets through an e1000e in MAC loopback, checks each, and prints the speed.
 *
 *     npm run nic                                  a simulated one
 *     npm run nic -- 0000:03:00.0                  that device, through VFIO
 *     npm run nic -- e1000e --batch 1 --size 1514  the first one of this machine; packets one by one
 */
import pc from 'picocolors';
import { DmaError, findPci, openPci, type PciFunction } from '../../lib/index.ts';
import { main, progress, tool, whole } from '../command.ts';
import { E1000e } from './driver.ts';
import { circulate, latencies, type Result, SIZES, verify } from './measure.ts';
import { simulateE1000e } from './model.ts';
import { E1000E_DEVICE, INTEL } from './registers.ts';

interface Settings {
  readonly packets: number;
  readonly size: number;
  readonly batch: number;
  readonly descriptors: number;
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

async function run(
  target: string | undefined,
  { packets, size, batch, descriptors }: Settings,
): Promise<void> {
  using fn = await open(target);
  using nic = new E1000e(fn, { descriptors, loopback: true });
  const { up, speed } = nic.link;
  console.log(
    `${pc.bold(`e1000e ${fn.address}`)} by ${pc.cyan(fn.transport)}, ${nic.macAddress}, MAC loopback`,
  );
  line('link', up ? `${pc.green('✔')} up, ${speed} Mbit/s` : `${pc.red('✘')} down`);
  progress(`sending ${packets} frames of every size`);
  const verified = await verify(nic, packets);
  progress(undefined);
  report(`${packets} frames of every size`, verified);
  progress(`forwarding ${packets} frames of ${size} bytes`);
  const circulated = await circulate(nic, { packets, size, batch });
  progress(undefined);
  report(`${packets} of ${size} B forwarded`, circulated);
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

const command = tool(
  'npm run nic --',
  'Sends packets through an e1000e in MAC loopback, checks each, and prints the speed.',
)
  .argument(
    '[device]',
    'address of the function, or `e1000e`: the first one of this machine; without it a simulated one',
  )
  .option('--packets <n>', 'packets of each measurement', whole(1, 1e9), 20_000)
  .option('--size <bytes>', 'bytes of a frame', whole(SIZES.from, SIZES.to), 60)
  .option('--batch <n>', 'packets at once', whole(1, 1024), 32)
  .option('--descriptors <n>', 'descriptors of each ring', whole(64, 4096), 256)
  .action(run);
await main(command);
