/**
 * Ranges of bytes that may overlap, and whether a new one does, in constant time.
 *
 *      a range of 2^(k-1) + 1 to 2^k bytes has class k, and touches one or two multiples of 2^k
 *      (class, address / 2^k)  -> hash -> chain of ranges
 *
 * A question looks at two buckets for each class there is. Nothing is allocated for a range once the tables have grown.
 */

/**
 * Ranges of 64 bytes or less are one class where nothing else is said; there are 32, the last has all that are longer.
 */
const SMALLEST = 6;
const CLASSES = 32;
/** Powers of two that a range may be as long as, at most. */
const LARGEST = 53;
/** 2^k and 1 / 2^k: a power with an exponent that is not constant is a call. */
const WIDTHS = Float64Array.from({ length: LARGEST + 1 }, (_, order) => 2 ** order);
const INVERSES = WIDTHS.map((width) => 1 / width);
const NONE = -1;
/** Ranges looked at in a bucket: more than this only overlap, or are many in one cache line. */
const PATIENCE = 64;

/** Buckets of a class that are looked at for one range. */
const MOST_BUCKETS = 16;

/** Ranges of bytes that may overlap, found by the bytes that they cover. */
export class SpanIndex<T> {
  /** Ranges in it. */
  count = 0;
  /** What the range that was entered last has bytes in common with; the newest of several alike. */
  met: T | undefined = undefined;

  private readonly smallest: number;
  private readonly largest: number;
  /** Ranges of each class. */
  private readonly classes = new Int32Array(LARGEST + 1);
  /** Bit k modulo 32 is set when there are any of class k. */
  private present = 0;
  /** Per range; `class` is 0 while its number is free. */
  private starts = new Float64Array(64);
  private ends = new Float64Array(64);
  private class = new Uint8Array(64);
  private readonly entries: T[] = [];
  /** Per node, of which a range has two: its neighbours in a chain, and which chain, NONE for none. */
  private nexts = new Int32Array(128);
  private previous = new Int32Array(128);
  private buckets = new Int32Array(128);
  private heads = new Int32Array(128).fill(NONE);
  /** 32 - log2 of the number of heads. */
  private shift = 25;
  /** First free number, each leading to the next through `nexts`. */
  private free = NONE;
  private fresh = 0;

  /** @param smallest class of the shortest ranges, 6 to 21 */
  constructor(smallest = SMALLEST) {
    this.smallest = smallest;
    this.largest = smallest + CLASSES - 1;
  }

  /**
   * Enter a range of at least one byte.
   * @param ask whether to look for what it meets, which is in `met` then
   * @returns its number
   */
  add(start: number, size: number, entry: T, ask = true): number {
    if (++this.count * 2 > this.heads.length) this.rehash();
    const order = classOf(size, this.smallest);
    const end = start + size;
    const first = this.bucket(order, start);
    const last = this.bucket(order, end - 1);
    if (ask) this.met = this.present === 0 ? undefined : this.meeting(order, first, last, start, end);
    const id = this.take(entry);
    this.starts[id] = start;
    this.ends[id] = end;
    this.class[id] = order;
    if (this.classes[order]!++ === 0) this.present |= 1 << order;
    this.chain(2 * id, first);
    if (last === first) this.buckets[2 * id + 1] = NONE;
    else this.chain(2 * id + 1, last);
    return id;
  }

  remove(id: number): void {
    this.unlink(2 * id);
    if (this.buckets[2 * id + 1] !== NONE) this.unlink(2 * id + 1);
    const order = this.class[id]!;
    if (--this.classes[order]! === 0) this.present &= ~(1 << order);
    this.class[id] = 0;
    this.nexts[2 * id] = this.free;
    this.free = id;
    this.count--;
  }

  /** All that have a byte in [start, start + size), each once, in no particular order. */
  touching(start: number, size: number): T[] {
    const found: T[] = [];
    for (let left = this.present; left !== 0; left &= left - 1) {
      this.collect(this.lowestOf(left), start, start + size, found);
    }
    return found;
  }

  /** All there are, in no particular order. */
  *[Symbol.iterator](): Generator<T> {
    for (let id = 0; id < this.fresh; id++) if (this.class[id] !== 0) yield this.entries[id] as T;
  }

  /** Ranges of about this size that have a byte in [start, start + size), counted up to `most`. */
  overlaps(start: number, size: number, most: number): number {
    const end = start + size;
    let seen = 0;
    for (
      let node = this.heads[this.bucket(classOf(size, this.smallest), start)]!;
      node !== NONE && seen < most;
    ) {
      const id = node >> 1;
      if (this.starts[id]! < end && this.ends[id]! > start) seen++;
      node = this.nexts[node]!;
    }
    return seen;
  }

  /**
   * What has a byte in [start, end): any of about this size or larger; of much smaller ones those that lie at an end.
   * @param first, last the buckets of the ends among those of the same class
   */
  private meeting(own: number, first: number, last: number, start: number, end: number): T | undefined {
    let found = this.search(first, start, end);
    if (found === NONE && last !== first) found = this.search(last, start, end);
    let left = this.present & ~(1 << own);
    for (; left !== 0 && found === NONE; left &= left - 1) {
      found = this.searchClass(this.lowestOf(left), start, end);
    }
    return found === NONE ? undefined : this.entries[found];
  }

  /** A range of this class that has a byte in [start, end): in all buckets if they are few, else in the outermost. */
  private searchClass(order: number, start: number, end: number): number {
    const first = this.bucket(order, start);
    const last = this.bucket(order, end - 1);
    let found = this.heads[last] === NONE ? NONE : this.search(last, start, end);
    const width = WIDTHS[order]!;
    // Both ends, and nothing between them: for want of more in it, two buckets can be one.
    if (first === last && end - start <= width) return found;
    const step = end - start <= MOST_BUCKETS * width ? width : end - start;
    for (let at = start; at < end && found === NONE; at += step) {
      found = this.search(this.bucket(order, at), start, end);
    }
    return found;
  }

  /** The class that the lowest bit of `present` or some of it stands for. */
  private lowestOf(bits: number): number {
    return this.smallest + ((31 - Math.clz32(bits & -bits) - this.smallest) & 31);
  }

  /** Those of this class that have a byte in [start, end): bucket by bucket, unless it is less to look at all. */
  private collect(order: number, start: number, end: number, found: T[]): void {
    const inverse = INVERSES[order]!;
    const first = Math.floor(start * inverse);
    const last = Math.floor((end - 1) * inverse);
    // The longest touch more buckets than they are in.
    if (order === this.largest || last - first >= this.fresh) {
      for (let id = 0; id < this.fresh; id++) {
        if (this.class[id] === order && this.starts[id]! < end && this.ends[id]! > start) {
          found.push(this.entries[id] as T);
        }
      }
      return;
    }
    for (let number = first; number <= last; number++) {
      for (
        let node = this.heads[this.bucket(order, number * WIDTHS[order]!)]!;
        node !== NONE;
        node = this.nexts[node]!
      ) {
        const id = node >> 1;
        if (this.class[id] !== order || this.starts[id]! >= end || this.ends[id]! <= start) continue;
        // In two buckets, and in other chains by chance: it counts in the first that is looked at.
        if (Math.max(first, Math.floor(this.starts[id]! * inverse)) === number)
          found.push(this.entries[id] as T);
      }
    }
  }

  /** A range in this bucket that has a byte in [start, end). */
  private search(bucket: number, start: number, end: number): number {
    const { starts, ends, nexts } = this;
    let node = this.heads[bucket]!;
    for (let seen = 0; node !== NONE && seen < PATIENCE; seen++) {
      const id = node >> 1;
      if (starts[id]! < end && ends[id]! > start) return id;
      node = nexts[node]!;
    }
    return NONE;
  }

  private take(entry: T): number {
    const id = this.free;
    if (id !== NONE) {
      this.free = this.nexts[2 * id]!;
      this.entries[id] = entry;
      return id;
    }
    if (this.fresh === this.starts.length) this.grow();
    this.entries.push(entry);
    return this.fresh++;
  }

  private bucket(order: number, address: number): number {
    // The low 32 bits of the quotient are enough for a hash.
    const quotient = Math.floor(address * INVERSES[order]!);
    return Math.imul((quotient | 0) + order, 0x9e37_79b1) >>> this.shift;
  }

  private chain(node: number, bucket: number): void {
    const { nexts, previous, heads } = this;
    const next = heads[bucket]!;
    nexts[node] = next;
    previous[node] = NONE;
    if (next !== NONE) previous[next] = node;
    heads[bucket] = node;
    this.buckets[node] = bucket;
  }

  private unlink(node: number): void {
    const { nexts, previous } = this;
    const before = previous[node]!;
    const after = nexts[node]!;
    if (before === NONE) this.heads[this.buckets[node]!] = after;
    else nexts[before] = after;
    if (after !== NONE) previous[after] = before;
  }

  private grow(): void {
    const size = this.starts.length * 2;
    this.starts = enlarged(this.starts, new Float64Array(size));
    this.ends = enlarged(this.ends, new Float64Array(size));
    this.class = enlarged(this.class, new Uint8Array(size));
    this.nexts = enlarged(this.nexts, new Int32Array(2 * size));
    this.previous = enlarged(this.previous, new Int32Array(2 * size));
    this.buckets = enlarged(this.buckets, new Int32Array(2 * size));
  }

  private rehash(): void {
    this.heads = new Int32Array(this.heads.length * 2).fill(NONE);
    this.shift--;
    for (let id = 0; id < this.fresh; id++) {
      const order = this.class[id]!;
      if (order === 0) continue;
      const first = this.bucket(order, this.starts[id]!);
      const last = this.bucket(order, this.ends[id]! - 1);
      this.chain(2 * id, first);
      if (last !== first) this.chain(2 * id + 1, last);
      else this.buckets[2 * id + 1] = NONE;
    }
  }
}

function classOf(size: number, smallest: number): number {
  if (size <= 64) return smallest;
  if (size > 0x4000_0000) return Math.min(smallest + CLASSES - 1, Math.ceil(Math.log2(size)));
  return Math.max(smallest, 32 - Math.clz32(size - 1));
}

function enlarged<T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
