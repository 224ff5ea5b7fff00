/**
 * What lies at a device address, among ranges that come and go and may overlap.
 *
 *      length of a range   ->  level: the power of two that holds it, 4 KiB at least
 *      level               ->  a Map from address / 2^level to the ranges that touch that bucket: two of each at most
 */

export interface AddressRange {
  /** First device address. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
}

const LOWEST_LEVEL = 12;

export class AddressIndex<T extends AddressRange> {
  readonly #levels: (Map<number, Set<T>> | undefined)[] = [];
  readonly #all = new Set<T>();

  /** All of them, in the order in which they came. */
  get all(): ReadonlySet<T> {
    return this.#all;
  }

  add(range: T): void {
    this.#all.add(range);
    const level = levelOf(range.size);
    this.#levels[level] ??= new Map<number, Set<T>>();
    const buckets = this.#levels[level];
    eachBucket(range, level, (number) => {
      const bucket = buckets.get(number);
      if (bucket === undefined) buckets.set(number, new Set([range]));
      else bucket.add(range);
    });
  }

  remove(range: T): void {
    if (!this.#all.delete(range)) return;
    const level = levelOf(range.size);
    const buckets = this.#levels[level]!;
    eachBucket(range, level, (number) => {
      const bucket = buckets.get(number)!;
      if (bucket.size > 1) bucket.delete(range);
      else buckets.delete(number);
    });
  }

  clear(): void {
    this.#all.clear();
    this.#levels.length = 0;
  }

  /** Those that have a byte in [address, address + size), each once, in no particular order. */
  touching(address: number, size: number): T[] {
    const found = new Set<T>();
    for (let level = LOWEST_LEVEL; level < this.#levels.length; level++) {
      const buckets = this.#levels[level];
      if (buckets === undefined || buckets.size === 0) continue;
      eachBucket({ address, size }, level, (number) => {
        for (const range of buckets.get(number) ?? []) {
          if (range.address < address + size && range.address + range.size > address) found.add(range);
        }
      });
    }
    return [...found];
  }

  /** The one that is the fewest bytes away; undefined when there is none at all. Looks at all of them. */
  nearest(address: number): T | undefined {
    let best: T | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const range of this.#all) {
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

function levelOf(size: number): number {
  return Math.max(LOWEST_LEVEL, Math.ceil(Math.log2(size)));
}

function eachBucket({ address, size }: AddressRange, level: number, visit: (number: number) => void): void {
  const width = 2 ** level;
  const last = Math.floor((address + size - 1) / width);
  for (let number = Math.floor(address / width); number <= last; number++) visit(number);
}
