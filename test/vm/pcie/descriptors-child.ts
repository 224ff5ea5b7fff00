/**
 * Child of descriptors.test.ts, with few descriptors to spend: opens a function, arms a vector and allocates with ever
 * more of them left. Prints how each try went, and what it held afterwards, as JSON.
 */
import { closeSync, openSync } from 'node:fs';
import { DmaError, openPci } from '../../../lib/index.ts';
import { holdings } from '../holdings.ts';

const address = process.argv[2]!;
const MOST = 24;

/** Takes all descriptors but so many; gives them back afterwards. */
async function withLeft(count: number, action: () => Promise<string>): Promise<string> {
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch {
    // None is left.
  }
  for (const fd of taken.splice(0, count)) closeSync(fd);
  try {
    return await action();
  } finally {
    for (const fd of taken) closeSync(fd);
  }
}

async function use(): Promise<string> {
  try {
    using fn = await openPci(address);
    fn.interrupts.msix(0);
    fn.dma.allocCoherent(4096);
    return 'works';
  } catch (error) {
    if (error instanceof DmaError) return error.code;
    throw error;
  }
}

// Loads, compiles and measures what later openings find.
await use();
const before = holdings();
const tries: { outcome: string; held: ReturnType<typeof holdings> }[] = [];
for (let left = 0; left <= MOST; left++) {
  const outcome = await withLeft(left, use);
  // What closes in the event loop has closed.
  await new Promise((resolve) => setTimeout(resolve, 5));
  tries.push({ outcome, held: holdings() });
}
console.log(JSON.stringify({ before, tries }));
