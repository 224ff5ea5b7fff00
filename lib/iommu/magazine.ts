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
  declare private readonly pageSize: number;
  declare private readonly spill: Spill;

  /**
   * The first stacks of the banks within the limit, in the order in which they are asked: below 4 GiB from the highest
   * down, then above.
   */
  private readonly reach = new Int32Array(MAX_BANKS);
  /** How many of them are below 4 GiB, and how many there are. */
  private reachLow = 0;
  private reachAll = 0;

  constructor(pageSize: number, spill: Spill) {
    this.pageSize = pageSize;
    this.spill = spill;
    this.edges.set([LOW_END, 2 ** 53]);
  }

  /**
   * Sets the highest address that later blocks may include. The banks beyond it are skipped. Returns true if the banks are
   * others than before.
   */
  aim(limit: number): boolean {
    const edges = this.edges;
    const end = limit + 1;
    let bank = 0;
    while (edges[bank]! < end) bank++;
    const changed = limit > 0 && edges[bank] !== end && this.banks < MAX_BANKS;
    if (changed) this.insert(bank, end);
    if (edges[bank] !== end) bank--;
    const low = Math.min(bank, edges.indexOf(LOW_END));
    this.reachLow = low + 1;
    this.reachAll = bank + 1;
    for (let i = 0; i <= bank; i++) this.reach[i] = (i <= low ? low - i : bank + low + 1 - i) * CLASSES;
    return changed;
  }

  /** The bank of all blocks that end in (first, end], by its first stack; -1 if they are of several banks. */
  bankOf(first: number, end: number): number {
    const bank = this.bankUpTo(first + 1);
    return bank === this.bankUpTo(end) ? bank : -1;
  }

  /**
   * A block of size class `order`, from the first bank in order that has one; -1 if there is none.
   * @param above also from 4 GiB up
   */
  pop(order: number, above: boolean): number {
    const banks = above ? this.reachAll : this.reachLow;
    for (let i = 0; i < banks; i++) {
      const stack = this.reach[i]! + order;
      const depth = this.depth[stack]! - 1;
      if (depth < 0) continue;
      this.depth[stack] = depth;
      return this.stacks[(stack << CAPACITY_BITS) + depth]!;
    }
    return -1;
  }

  /**
   * Keeps a freed block of size class `order`. A full stack first spills its older half.
   * @param bank what `bankOf` said of a range around the block
   */
  push(iova: number, order: number, bank: number): void {
    const stack = (bank < 0 ? this.bankOfBlock(iova, order) : bank) + order;
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

  private bankOfBlock(iova: number, order: number): number {
    return this.bankUpTo(iova + (this.pageSize << order));
  }

  private bankUpTo(end: number): number {
    let bank = 0;
    while (end > this.edges[bank]!) bank++;
    return bank * CLASSES;
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
