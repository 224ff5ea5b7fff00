/** Ranges of device addresses that come and go and may overlap, found by address. */
import { SpanIndex } from './span-index.ts';

export interface AddressRange {
  /** First device address. */
  readonly address: number;
  /** Bytes, at least 1. */
  readonly size: number;
}

/** What can be in an index, one at a time, and stays as long and where it is meanwhile. */
export interface Indexed extends AddressRange {
  /** Its number there; -1 while it is in none. */
  place: number;
}

/** Most accesses and most mappings are of no more than a page: the power of two of the shortest ranges told apart. */
const SHORTEST = 12;

/** Things with a device address, found by the addresses that they cover. */
export class AddressIndex<T extends Indexed> {
  #spans = new SpanIndex<T>(SHORTEST);

  /** All of them, in no particular order. */
  get all(): Iterable<T> {
    return this.#spans;
  }

  add(range: T): void {
    range.place = this.#spans.add(range.address, range.size, range, false);
  }

  /** Harmless for what is not in it. */
  remove(range: T): void {
    if (range.place < 0) return;
    this.#spans.remove(range.place);
    range.place = -1;
  }

  clear(): void {
    for (const range of this.all) range.place = -1;
    this.#spans = new SpanIndex<T>(SHORTEST);
  }

  /** Those that have a byte in [address, address + size), each once, in no particular order. */
  touching(address: number, size: number): T[] {
    return this.#spans.touching(address, size);
  }

  /** The one that is the fewest bytes away; undefined when there is none at all. Looks at all of them. */
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

/** Bytes between an address and a range; 0 inside. */
export function distanceTo({ address, size }: AddressRange, to: number): number {
  if (to < address) return address - to;
  return Math.max(0, to - (address + size - 1));
}
