/**
 * How many descriptors the device is done with, in as few looks as possible.
 *
 * It writes them back in their order (datasheet, 7.1.8), and nothing it writes overtakes what it wrote before, since
 * the driver turns relaxed ordering off: one that is done vouches for all before it. So the last of a batch is looked
 * at first, by `Atomics.load`, which V8 neither merges nor moves later loads before; when it is done, everything before
 * it can be read plainly, and a load that costs as much as half a packet is made once a batch. When it is not, halving
 * finds how far the device has got.
 */
import { DESCRIPTOR, DONE } from './registers.ts';

// V8 folds a module's own constants, and loads imported ones.
const { words: WORDS, state: STATE } = DESCRIPTOR;

/**
 * @param words of the ring, in the order of this processor
 * @param first where to begin, of `entries` in the ring
 * @param limit descriptors that are wanted, at most `entries`
 */
export function countDone(words: Int32Array, first: number, entries: number, limit: number): number {
  if (limit < 1) return 0;
  if (isDone(words, first + limit - 1, entries)) return limit;
  // An empty ring is what is polled most.
  if (limit === 1 || !isDone(words, first, entries)) return 0;
  // Those below `low` are done, those from `high` on are not.
  let low = 1;
  let high = limit - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isDone(words, first + middle, entries)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** @param slot goes round once */
function isDone(words: Int32Array, slot: number, entries: number): boolean {
  const element = slot < entries ? slot : slot - entries;
  return (Atomics.load(words, element * WORDS + STATE) & DONE) !== 0;
}
