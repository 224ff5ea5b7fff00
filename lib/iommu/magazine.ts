/**
 * Magazines keep freed blocks whole for the next request of their size, as the kernel's rcache does
 * (drivers/iommu/iova.c). There is one stack per size class and bank:
 *
 *      bank 0        bank 1                bank 2
 *      | .. 2^28-1 | 2^28 .. 2^32-1      | 2^32 .. 2^53-1      |
 *
 * 4 GiB is an edge between banks. Every limit that is used becomes an edge, too (the first few: a space has few
 * masks). So a block that is out of reach never lies on top of a usable one, and which bank is meant is a predictable
 * branch. A block belongs to the bank of its last byte.
 */

/** Size classes 2^0 .. 2^5 pages. */
const CLASSES = 6;
const CAPACITY_BITS = 7;
const CAPACITY = 1 << CAPACITY_BITS;
const MAX_BANKS = 8;
const LOW_END = 2 ** 32;

/** Receives the blocks for which a stack has no room. */
export type Spill = (iova: number, order: number) => void;

/** Caches of free addresses by size, in front of the buddies. */
export class Magazines {
  /** False only if there is certainly nothing to flush. */
  stocked = false;

  /** The end of each bank, exclusive, ascending. */
  private readonly edges = new Float64Array(MAX_BANKS);
  private banks = 2;
  private readonly stacks = new Float64Array(MAX_BANKS * CLASSES * CAPACITY);
  private readonly depth = new Int32Array(MAX_BANKS * CLASSES);
  declare private readonly spill: Spill;

  /**
   * The first stack of the highest bank within the limit: below 4 GiB, and of all banks. Negative if there is none.
   */
  private lowTop = -CLASSES;
  private top = -CLASSES;
  /** First stack of the lowest bank from 4 GiB up. */
  private highBottom = CLASSES;

  constructor(spill: Spill) {
    this.spill = spill;
    this.edges.set([LOW_END, 2 ** 53]);
  }

  /** Sets the highest address that later blocks may include. The banks beyond it are skipped. */
  aim(limit: number): void {
    const edges = this.edges;
    const end = limit + 1;
    let bank = 0;
    while (edges[bank]! < end) bank++;
    if (limit > 0 && edges[bank] !== end && this.banks < MAX_BANKS) this.insert(bank, end);
    if (edges[bank] !== end) bank--;
    this.highBottom = (edges.indexOf(LOW_END) + 1) * CLASSES;
    this.top = bank * CLASSES;
    this.lowTop = Math.min(this.top, this.highBottom - CLASSES);
  }

  /** A block of size class `order` below 4 GiB, from the highest bank that has one; -1 if there is none. */
  popLow(order: number): number {
    return this.pop(this.lowTop + order, 0);
  }

  /** As `popLow`, from 4 GiB up. */
  popHigh(order: number): number {
    return this.pop(this.top + order, this.highBottom);
  }

  /** Keeps a freed block of size class `order` that ends at `end`. A full stack first spills its older half. */
  push(iova: number, order: number, end: number): void {
    const edges = this.edges;
    let bank = 0;
    while (end > edges[bank]!) bank++;
    const stack = bank * CLASSES + order;
    let depth = this.depth[stack]!;
    if (depth === CAPACITY) depth = this.spillHalf(stack);
    this.stacks[(stack << CAPACITY_BITS) + depth] = iova;
    this.depth[stack] = depth + 1;
    this.stocked = true;
  }

  /** Spill everything. */
  flush(): void {
    for (let stack = 0; stack < this.banks * CLASSES; stack++) {
      this.spillOldest(stack, this.depth[stack]!);
      this.depth[stack] = 0;
    }
    this.stocked = false;
  }

  private pop(top: number, bottom: number): number {
    for (let stack = top; stack >= bottom; stack -= CLASSES) {
      const depth = this.depth[stack]! - 1;
      if (depth < 0) continue;
      this.depth[stack] = depth;
      return this.stacks[(stack << CAPACITY_BITS) + depth]!;
    }
    return -1;
  }

  /** A new edge cuts a bank in two. The blocks of that bank are spilled, not sorted. */
  private insert(bank: number, end: number): void {
    this.flush();
    this.edges.copyWithin(bank + 1, bank, this.banks);
    this.edges[bank] = end;
    this.banks++;
  }

  private spillHalf(stack: number): number {
    const kept = CAPACITY >>> 1;
    const first = stack * CAPACITY;
    this.spillOldest(stack, CAPACITY - kept);
    this.stacks.copyWithin(first, first + CAPACITY - kept, first + CAPACITY);
    return kept;
  }

  private spillOldest(stack: number, blocks: number): void {
    const first = stack * CAPACITY;
    for (let i = first; i < first + blocks; i++) this.spill(this.stacks[i]!, stack % CLASSES);
  }
}
