/**
 * The call sites that allocate and free the blocks of a pool. A pair of calls costs a few nanoseconds: for a block
 * whose site is not kept, only that fact is recorded.
 */
import type { OwnRegion } from '../dma/operations/own-memory.ts';
import { addressOf, PoolBlock } from '../dma/pool/block.ts';
import { HeldEntry } from './entry.ts';
import { captureSite, Sampler, type Site, type Stacks } from './sites.ts';

/** Blocks whose sites are kept, and of the many after them every so many. */
const FIRST = 4096;
const INTERVAL = 4096;

/** Where the blocks of a pool were allocated and freed. */
export class BlockSites {
  private readonly sampler: Sampler;
  /** By index of the block; undefined when its site was not kept. */
  private readonly births: (Site | undefined)[] = [];
  private readonly deaths: (Site | undefined)[] = [];
  /** Blocks by the memory they lie in, ascending; the first `indexed` of the pool's. */
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

  /** What is known of a block, out or free; undefined for what is no block. */
  entryOf(block: unknown): HeldEntry | undefined {
    if (!(block instanceof PoolBlock)) return undefined;
    const { index, size } = block;
    const place = { type: 'pool-block', address: addressOf(block), size } as const;
    const entry = new HeldEntry(block, place, this.births[index], 0);
    entry.live = block.out;
    entry.death = block.out ? undefined : this.deaths[index];
    return entry;
  }

  /** Those that are out. */
  out(blocks: readonly PoolBlock[]): readonly HeldEntry[] {
    return blocks.filter((block) => block.out).map((block) => this.entryOf(block)!);
  }

  /** The one of `blocks`, which are all there are in the order in which they were carved, at a device address. */
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
    // Without holes, which would make every access slow.
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
