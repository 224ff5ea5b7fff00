/**
 * An index of byte ranges that may overlap. It tells in constant time if a new range overlaps another one.
 *
 *      a range of 2^(k-1) + 1 to 2^k bytes has class k, and touches one or two multiples of 2^k
 *      (class, address / 2^k)  -> hash -> chain of ranges
 *
 * A question looks at two buckets for each class that exists. Once the tables have grown, a range costs no allocation.
 */

/**
 * By default all ranges of up to 64 bytes are one class. There are 32 classes, and the last holds all longer ranges.
 */
const SMALLEST = 6;
const CLASSES = 32;
/** The largest power of two that a range can have as its length. */
const LARGEST = 53;
/** 2^k and 1 / 2^k, as tables: V8 calls a function for a power with an exponent that is not constant. */
const WIDTHS = Float64Array.from({ length: LARGEST + 1 }, (_, order) => 2 ** order);
const INVERSES = WIDTHS.map((width) => 1 / width);
const NONE = -1;
/**
 * The most ranges to look at in a bucket. If there are more, they all overlap, or many of them share one cache line.
 */
const PATIENCE = 64;

/**
 * The number of ranges for which a new index has room, a power of two. Many indexes stay empty, and V8 keeps arrays of
 * up to 64 bytes in its heap.
 */
const FEW = 4;

/** The most buckets of a class to look at for one range. */
const MOST_BUCKETS = 16;

/** An index of byte ranges that may overlap. */
export class SpanIndex<T> {
  /** The number of ranges. */
  count = 0;
  /** A range that overlaps the one that was entered last; the newest if there are several. */
  met: T | undefined = undefined;

  private readonly smallest: number;
  private readonly largest: number;
  /** The number of ranges of each class. */
  private readonly classes = new Int32Array(LARGEST + 1);
  /** Bit k modulo 32 is set if there is a range of class k. */
  private present = 0;
  /** One value per range; `class` is 0 while its number is free. */
  private starts = new Float64Array(FEW);
  private ends = new Float64Array(FEW);
  private class = new Uint8Array(FEW);
  private readonly entries: T[] = [];
  /**
   * One value per node. A range has two nodes. A node has its neighbours in a chain, and its chain, NONE for none.
   */
  private nexts = new Int32Array(2 * FEW);
  private previous = new Int32Array(2 * FEW);
  private buckets = new Int32Array(2 * FEW);
  private heads = new Int32Array(2 * FEW).fill(NONE);
  /** 32 - log2 of the number of heads. */
  private shift = 31 - Math.log2(FEW);
  /** The first free number. Each free number leads to the next through `nexts`. */
  private free = NONE;
  private fresh = 0;

  /** @param smallest class of the shortest ranges, 6 to 21 */
  constructor(smallest = SMALLEST) {
    this.smallest = smallest;
    this.largest = smallest + CLASSES - 1;
  }

  /**
   * Enter a range of at least one byte.
   * @param ask true to look for a range that overlaps it; `met` is the result
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

  /** All ranges that have a byte in [start, start + size), each once, unsorted. */
  touching(start: number, size: number): T[] {
    const found: T[] = [];
    for (let left = this.present; left !== 0; left &= left - 1) {
      this.collect(this.lowestOf(left), start, start + size, found);
    }
    return found;
  }

  /** All ranges, unsorted. */
  *[Symbol.iterator](): Generator<T> {
    for (let id = 0; id < this.fresh; id++) if (this.class[id] !== 0) yield this.entries[id] as T;
  }

  /** The number of ranges of about this size that have a byte in [start, start + size). It counts up to `most`. */
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
   * A range that has a byte in [start, end). It finds any range of about this size or larger. It finds a much smaller
   * range only if that lies at one of the ends.
   * @param first the bucket of `start` in the class of this size
   * @param last the bucket of `end - 1` in that class
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

  /**
   * A range of this class that has a byte in [start, end). It looks in all buckets if they are few, else in the
   * outermost ones.
   */
  private searchClass(order: number, start: number, end: number): number {
    const first = this.bucket(order, start);
    const last = this.bucket(order, end - 1);
    let found = this.heads[last] === NONE ? NONE : this.search(last, start, end);
    const width = WIDTHS[order]!;
    // Both ends are done, and there is nothing between them. They can share a bucket, because the hash table is
    // small.
    if (first === last && end - start <= width) return found;
    const step = end - start <= MOST_BUCKETS * width ? width : end - start;
    for (let at = start; at < end && found === NONE; at += step) {
      found = this.search(this.bucket(order, at), start, end);
    }
    return found;
  }

  /** The class that the lowest bit of `bits` stands for. `bits` are some bits of `present`. */
  private lowestOf(bits: number): number {
    return this.smallest + ((31 - Math.clz32(bits & -bits) - this.smallest) & 31);
  }

  /**
   * Collects the ranges of this class that have a byte in [start, end), by buckets, or by looking at all ranges if
   * that is less work.
   */
  private collect(order: number, start: number, end: number, found: T[]): void {
    const inverse = INVERSES[order]!;
    const first = Math.floor(start * inverse);
    const last = Math.floor((end - 1) * inverse);
    // The ranges of the largest class touch more buckets than the two that hold them.
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
        // A range is in two buckets, and other ranges may share its chain. It counts in the first bucket in which it
        // is found.
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
