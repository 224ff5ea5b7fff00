/**
 * Writes blocks to the card's memory, reads them back, compares them, and prints how fast that was.
 *
 *     npm run xdma                                  a simulated card
 *     npm run xdma -- 0000:01:00.0 --overwrite      that card, through VFIO: what is at the address is lost
 */
import { randomFillSync } from 'node:crypto';
import pc from 'picocolors';
import { DmaError, openPci } from '../../lib/index.ts';
import { main, progress, table, tool, whole } from '../command.ts';
import { Xdma } from './driver.ts';
import { simulateXdma } from './model.ts';

interface Flags {
  readonly card: number;
  readonly seconds: number;
  readonly poll?: boolean;
  readonly overwrite?: boolean;
}

const SIZES = [64, 4096, 65_536, 1_048_576];
/** Bytes of card memory that a run uses. */
const LARGEST = 2 ** 20;
/** A simulated card has memory of this process from address 0 on. */
const MOST_SIMULATED = 2 ** 30;

/** One size: a block to the card and back, again and again. */
async function measure(xdma: Xdma, card: number, size: number, seconds: number): Promise<string[]> {
  const [from, to] = [randomFillSync(new Uint8Array(size)), new Uint8Array(size)];
  const took = { write: 0, read: 0 };
  let blocks = 0;
  let wrong = 0;
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    await xdma.write(card, from);
    const middle = performance.now();
    await xdma.read(card, to.fill(0));
    took.write += middle - start;
    took.read += performance.now() - middle;
    blocks++;
    if (Buffer.compare(from, to) !== 0) wrong++;
  } while (performance.now() < end);
  if (wrong > 0) process.exitCode = 1;
  const speed = (milliseconds: number) => ((blocks * size) / milliseconds / 1000).toFixed(1);
  const verdict = wrong === 0 ? pc.green('✔ equal') : pc.red(`✘ ${wrong} of ${blocks} differ`);
  return [String(size), String(blocks), speed(took.write), speed(took.read), verdict];
}

async function run(target: string | undefined, { card, seconds, poll, overwrite }: Flags): Promise<void> {
  if (target !== undefined && !overwrite) {
    throw new DmaError('EPERM', `this would overwrite memory of the card at ${target}`, {
      remedy: 'pass --overwrite if it is not needed, and --card for its address',
    });
  }
  if (target === undefined && card + LARGEST > MOST_SIMULATED) {
    throw new DmaError('EINVAL', `a simulated card has no memory at ${card}`, {
      remedy: `pass --card with an address up to ${MOST_SIMULATED - LARGEST}`,
    });
  }
  // With debugging, most of the time would go there.
  const fn = await (target === undefined
    ? openPci(simulateXdma({ memory: card + LARGEST }), { debug: false })
    : openPci(target));
  await using xdma = await Xdma.open(fn, { completions: poll ? 'poll' : 'interrupt' });
  const { h2c, c2h } = xdma;
  console.log(
    `${pc.bold(`XDMA ${fn.address}`)} by ${pc.cyan(fn.transport)}, channels: ${h2c.length} to the card, ${c2h.length} back`,
  );
  const rows: string[][] = [];
  for (const size of SIZES) {
    progress(`blocks of ${size} bytes`);
    rows.push(await measure(xdma, card, size, seconds / SIZES.length));
  }
  progress(undefined);
  console.log(table(['bytes', 'blocks', 'MB/s to the card', 'MB/s back', ''], rows, 4));
}

const command = tool(
  'npm run xdma --',
  "Writes blocks to the card's memory, reads them back and compares them.",
)
  .argument('[address]', 'the function; without it a simulated card')
  .option('--card <address>', "address on the card's AXI bus", whole(0, Number.MAX_SAFE_INTEGER - LARGEST), 0)
  .option('--seconds <s>', 'how long to measure', whole(1, 86_400), 2)
  .option('--poll', 'no interrupts')
  .option('--overwrite', 'needed for a real card')
  .action(run);
await main(command);
