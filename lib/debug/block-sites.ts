/**
 * The call sites that allocate and free the blocks of a pool. A pair of calls costs a few nanoseconds, so most sites
 * are not kept: for such a block only the fact of the call is recorded.
 */
import type { OwnRegion } from '../dma/operations/own-memory.ts';
import { addressOf, PoolBlock } from '../dma/pool/block.ts';
import { HeldEntry } from './entry.ts';
import { captureSite, Sampler, type Site, type Stacks } from './sites.ts';

/** The number of blocks whose sites are kept; after them, the site of every n-th block is kept. */
const FIRST = 4096;
const INTERVAL = 4096;

/** Where the blocks of a pool were allocated and freed. */
export class BlockSites {
  private readonly sampler: Sampler;
  /** Indexed by block; undefined if its site was not kept. */
  private readonly births: (Site | undefined)[] = [];
  private readonly deaths: (Site | undefined)[] = [];
  /** The first `indexed` blocks of the pool, by the region that contains them, ascending. */
  private readonly byRegion = new Map<OwnRegion, PoolBlock[]>();
  private indexed = 0;

  constructor(stacks: Stacks | undefined) {
    this.sampler = Sampler.for(stacks, FIRST, INTERVAL);
  }

  taken({ index }: PoolBlock): void {
    const { births } = this;
    if (this.sampler.next()) this.keep(index);
    else if (index < births.length) births[index] = undefined;
  }

  freed({ index }: PoolBlock): void {
    if (index >= this.births.length) return;
    this.deaths[index] = this.births[index] === undefined ? undefined : captureSite();
  }

  /** The entry of a block, allocated or free; undefined if the value is not a block of this pool. */
  entryOf(block: unknown): HeldEntry | undefined {
    if (!(block instanceof PoolBlock)) return undefined;
    const { index, size } = block;
    const place = { type: 'pool-block', address: addressOf(block), size } as const;
    const entry = new HeldEntry(block, place, this.births[index], 0);
    entry.live = block.held;
    entry.death = block.held ? undefined : this.deaths[index];
    return entry;
  }

  /** The entries of the allocated blocks. */
  out(blocks: readonly PoolBlock[]): readonly HeldEntry[] {
    return blocks.filter((block) => block.held).map((block) => this.entryOf(block)!);
  }

  /**
   * The entry of the block at a device address. `blocks` are all blocks of the pool, in the order in which they were
   * carved.
   */
  at(blocks: readonly PoolBlock[], region: OwnRegion, address: number): HeldEntry | undefined {
    for (; this.indexed < blocks.length; this.indexed++) {
      const block = blocks[this.indexed]!;
      const neighbours = this.byRegion.get(block.chunk.region);
      if (neighbours === undefined) this.byRegion.set(block.chunk.region, [block]);
      else neighbours.push(block);
    }
    const offset = address - region.address;
    const block = lastAtOrBefore(this.byRegion.get(region) ?? [], offset);
    return block !== undefined && offset < block.at + block.size ? this.entryOf(block) : undefined;
  }

  private keep(index: number): void {
    const { births, deaths } = this;
    // The array must have no holes, because V8 accesses an array with holes slowly.
    while (births.length <= index) {
      births.push(undefined);
      deaths.push(undefined);
    }
    births[index] = captureSite();
  }
}

/** The last block that starts at or before an offset in its region. */
function lastAtOrBefore(blocks: readonly PoolBlock[], offset: number): PoolBlock | undefined {
  let low = 0;
  let high = blocks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (blocks[middle]!.at <= offset) low = middle + 1;
    else high = middle;
  }
  return blocks[low - 1];
}
