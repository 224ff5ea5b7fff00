/** An index of device address ranges that come and go and may overlap. */
import { SpanIndex } from './span-index.ts';

export interface AddressRange {
  /** First device address. */
  readonly address: number;
  /** Bytes, at least 1. */
  readonly size: number;
}

/** An object that an index can hold. It is in one index at a time, and its range does not change meanwhile. */
export interface Indexed extends AddressRange {
  /** Its number in the index; -1 while it is in no index. */
  place: number;
}

/**
 * Most accesses and most mappings have at most a page. The index does not distinguish ranges shorter than this power
 * of two.
 */
const SHORTEST = 12;

/** Objects with a device address, found by the addresses that they cover. */
export class AddressIndex<T extends Indexed> {
  #spans = new SpanIndex<T>(SHORTEST);

  /** All entries, unsorted. */
  get all(): Iterable<T> {
    return this.#spans;
  }

  add(range: T): void {
    range.place = this.#spans.add(range.address, range.size, range, false);
  }

  /** Does nothing if the range is not in the index. */
  remove(range: T): void {
    if (range.place < 0) return;
    this.#spans.remove(range.place);
    range.place = -1;
  }

  clear(): void {
    for (const range of this.all) range.place = -1;
    this.#spans = new SpanIndex<T>(SHORTEST);
  }

  /** The entries that have a byte in [address, address + size), each once, unsorted. */
  touching(address: number, size: number): T[] {
    return this.#spans.touching(address, size);
  }

  /** The entry that is the fewest bytes away; undefined if the index is empty. It looks at all entries. */
  nearest(address: number): T | undefined {
    let best: T | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const range of this.all) {
      const distance = distanceTo(range, address);
      if (distance < least) {
        least = distance;
        best = range;
      }
    }
    return best;
  }
}

/** The number of bytes between an address and a range; 0 inside the range. */
export function distanceTo({ address, size }: AddressRange, to: number): number {
  if (to < address) return address - to;
  return Math.max(0, to - (address + size - 1));
}
