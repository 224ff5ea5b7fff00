/** Which mistakes have been reported: one of a kind with one mapping in one place is enough. */
import type { ReportKind } from '../dma/debug-view.ts';
import { type Entry, HeldEntry } from './entry.ts';

/** Places remembered for mistakes that have nothing to do with any mapping; then they are forgotten, and told again. */
const MOST_PLACES = 1024;

/** Remembers what was reported, so that one mistake is reported once. */
export class Once {
  /**
   * Entries are used again for other things: the number tells them apart. Those of pool blocks are made when asked for.
   */
  readonly #told = new WeakMap<object, { readonly serial: number; readonly mistakes: Set<string> }>();
  readonly #places = new Set<string>();

  /** Whether this is the first of its kind with this entry, or in this place when there is no entry. */
  first(kind: ReportKind, entry: Entry | undefined, place: number): boolean {
    if (entry === undefined) return this.#firstIn(`${kind} ${place}`);
    const { serial } = entry;
    const key = entry instanceof HeldEntry ? entry.handle : entry;
    let told = this.#told.get(key);
    if (told === undefined || told.serial !== serial) {
      told = { serial, mistakes: new Set() };
      this.#told.set(key, told);
    }
    return isNew(told.mistakes, kind);
  }

  #firstIn(place: string): boolean {
    if (this.#places.has(place)) return false;
    if (this.#places.size === MOST_PLACES) this.#places.clear();
    this.#places.add(place);
    return true;
  }
}

/**
 * What is one mistake and not two: its kind, and the place of its first byte in the mapping, in pieces of `size` bytes.
 * The same mistake in each element of a list is one.
 */
export function mistakeKey(kind: ReportKind, offset: number, size: number): string {
  return `${kind} ${Math.floor(offset / size)}`;
}

/** Add it; whether it was not there. */
export function isNew<T>(told: Set<T>, one: T): boolean {
  return told.size < told.add(one).size;
}
