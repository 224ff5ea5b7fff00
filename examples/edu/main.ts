/**
 * Runs the edu driver and shows the results.
 *
 *     npm start                      the simulated device
 *     npm start -- 0000:00:10.0      that device, through VFIO
 *     npm start -- edu               the first edu device of this machine, through VFIO
 */
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import pc from 'picocolors';
import { DmaError, dmaBitMask, findPci, openPci, type PciFunction } from '../../lib/index.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { main, tool } from '../command.ts';
import { checkEdu, EDU_DEVICE, EDU_VENDOR, Edu, MAX_TRANSFER } from './driver.ts';
import { drawIovaMap } from './iova-map.ts';

const FACTORIALS = 100;
const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

async function open(target: string | undefined): Promise<PciFunction> {
  if (target === undefined) return openPci(simulate(new EduModel()));
  if (target !== 'edu') return openPci(target);
  const [address] = findPci(EDU_VENDOR, EDU_DEVICE);
  if (address === undefined) {
    throw new DmaError('ENODEV', 'this machine has no edu device', {
      remedy:
        'run `npm start` for the simulated one, or `npm run vm -- npm start -- edu` for one in a virtual machine',
    });
  }
  return openPci(address);
}

function section(title: string): void {
  console.log(`\n${pc.bold(title)}`);
}

async function timed<T>(what: string, step: () => T | Promise<T>, show: (result: T) => string): Promise<T> {
  const start = performance.now();
  const result = await step();
  const took = performance.now() - start;
  const latency = took < 1 ? `${(took * 1000).toFixed(0)} us` : `${took.toFixed(2)} ms`;
  console.log(`  ${what.padEnd(34)} ${show(result).padEnd(38)} ${pc.dim(latency.padStart(9))}`);
  return result;
}

function check(good: boolean, text: string): string {
  if (!good) process.exitCode = 1;
  return good ? `${pc.green('✔')} ${text}` : `${pc.red('✘')} ${text}`;
}

async function run(target: string | undefined): Promise<void> {
  using fn = await open(target);
  checkEdu(fn);
  section('Device');
  const { config, dma } = fn;
  const id = `${config.vendorId.toString(16)}:${config.deviceId.toString(16)}`;
  console.log(`  ${fn.address}  ${id}  by ${pc.cyan(fn.transport)}, BAR 0 of ${fn.bar(0).info.size} bytes`);

  section('Masks');
  console.log(`  as opened       streaming ${hex(dma.mask)}, coherent ${hex(dma.coherentMask)}`);
  const edu = await timed(
    'asked for 28 bits',
    () => new Edu(fn),
    () => `granted ${hex(dma.mask)}`,
  );
  for (const bits of [12, 64]) {
    console.log(
      `  could it be ${String(bits).padStart(2)} bits?  ${dma.supported(dmaBitMask(bits)) ? 'yes' : 'no'}`,
    );
  }

  section('Registers');
  await timed(
    'identification',
    () => edu.identify(),
    ({ major, minor }) => `edu, version ${major}.${minor}`,
  );
  await timed(
    'liveness',
    () => edu.isAlive(0x1234_5678),
    (alive) => check(alive, 'answers with the complement'),
  );

  section('Interrupts');
  await timed(
    '10! by interrupt',
    () => edu.factorial(10),
    (n) => check(n === 3_628_800, String(n)),
  );
  const before = edu.interrupt.count;
  const many = async (): Promise<number> => {
    for (let i = 0; i < FACTORIALS; i++) await edu.factorial(i % 13);
    return edu.interrupt.count - before;
  };
  await timed(`${FACTORIALS} more`, many, (n) => check(n === FACTORIALS, `${n} interrupts, none lost`));

  section('DMA');
  for (const length of [1, 64, 1500, MAX_TRANSFER]) {
    const sent = randomBytes(length);
    await timed(
      `${length} bytes to the device`,
      () => edu.write(sent),
      () => `from bus ${hex(edu.page.dmaAddress)}`,
    );
    edu.page.bytes.fill(0);
    const back = () => edu.read(length);
    await timed(`${length} bytes back`, back, (got) => check(sent.equals(got), 'equal'));
  }

  section("DMA of the program's own memory");
  const text = Buffer.from('bytes of an ordinary Buffer, wherever V8 has put them');
  const lent = dma.mapSingle(text, 'to-device');
  console.log(`  mapped at ${hex(lent.dmaAddress)}, ${pc.cyan(lent.way)}`);
  lent.unmap();
  const copy = Buffer.alloc(text.length);
  await timed(
    'there',
    () => edu.send(text),
    () => `${text.length} bytes`,
  );
  await timed(
    'and back',
    () => edu.receive(copy),
    () => check(copy.equals(text), 'equal'),
  );

  section('What the device can address');
  console.log(
    drawIovaMap(dma.addressRanges, dma.coherentMask, [
      { name: 'the transfer page', start: edu.page.dmaAddress, size: edu.page.size },
    ]),
  );

  section('Close');
  const { page, interrupt } = edu;
  await timed(
    'close',
    () => edu.close(),
    () => check(page.bytes.length === 0, 'every view is dead'),
  );
  console.log(`  ${interrupt.count} interrupts in all`);
}

const command = tool('npm start --', 'Runs the edu driver and shows the results.')
  .argument(
    '[device]',
    'address of the function, or `edu`: the first one of this machine; without it the simulated one',
  )
  .action(run);
await main(command);
