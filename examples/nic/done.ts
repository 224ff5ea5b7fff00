/**
 * Counts the descriptors that the device is done with, with as few reads as possible.
 *
 * The device writes them back in their order (datasheet, 7.1.8), and none of its writes overtakes an earlier one,
 * because the driver turns relaxed ordering off. So if one descriptor is done, all before it are done. The function
 * first reads the last one of a batch, by `Atomics.load`, which V8 neither merges with other loads nor moves behind
 * later ones. If that one is done, everything before it can be read by plain loads. So there is only one such load
 * for each batch; it costs as much as half a packet. If it is not done, a binary search finds the first that is not.
 */
import { DESCRIPTOR, DONE } from './registers.ts';

// V8 treats a module's own constants as constants, but loads imported ones from memory.
const { words: WORDS, state: STATE } = DESCRIPTOR;
const REPORTED = DONE;

/**
 * @param words the ring, in the byte order of this processor
 * @param first the first descriptor to look at, below `entries`
 * @param limit the number of descriptors that the caller wants, at most `entries`
 */
export function countDone(words: Int32Array, first: number, entries: number, limit: number): number {
  if (limit < 1) return 0;
  if (isDone(words, first + limit - 1, entries)) return limit;
  // An empty ring is the most frequent case of polling.
  if (limit === 1 || !isDone(words, first, entries)) return 0;
  // The descriptors below `low` are done, and those from `high` on are not.
  let low = 1;
  let high = limit - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isDone(words, first + middle, entries)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** @param slot wraps around once */
function isDone(words: Int32Array, slot: number, entries: number): boolean {
  const element = slot < entries ? slot : slot - entries;
  return (Atomics.load(words, element * WORDS + STATE) & REPORTED) !== 0;
}
