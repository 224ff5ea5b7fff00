/** Remembers the mistakes that were reported: one report for each kind, mapping and place is enough. */
import type { ReportKind } from '../dma/debug-view.ts';
import { type Entry, HeldEntry } from './entry.ts';

/** The number of places to remember for mistakes that concern no mapping. When it is reached, all are forgotten. */
const MOST_PLACES = 1024;

/** Remembers the reports, so that a mistake is reported once. */
export class Once {
  /**
   * An entry object may be reused for another mapping: the serial number distinguishes the two. Entries of pool
   * blocks are made on demand.
   */
  readonly #told = new WeakMap<object, { readonly serial: number; readonly mistakes: Set<string> }>();
  readonly #places = new Set<string>();

  /** True if this is the first mistake of its kind for this entry or, without an entry, for this place. */
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
 * The key of a mistake: its kind, and the place of its first byte in the mapping, in pieces of `size` bytes. The key
 * is the same for each element of a list.
 */
export function mistakeKey(kind: ReportKind, offset: number, size: number): string {
  return `${kind} ${Math.floor(offset / size)}`;
}

/** Adds a value. Returns true if it was not there before. */
export function isNew<T>(told: Set<T>, one: T): boolean {
  return told.size < told.add(one).size;
}
