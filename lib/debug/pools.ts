/** Pools that record the call sites of their blocks, and report mistakes. */
import type { ReportKind } from '../dma/debug-view.ts';
import type { OwnRegion } from '../dma/operations/own-memory.ts';
import type { DmaPoolBlock, PoolBlock } from '../dma/pool/block.ts';
import type { PoolOptions } from '../dma/pool/layout.ts';
import { PoisonedPool } from '../dma/pool/poisoned.ts';
import { DmaPool, type PoolOwner } from '../dma/pool/pool.ts';
import type { BlockIndices } from '../dma/pool/stack.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import { DmaError, type ErrnoName } from '../errors.ts';
import { BlockSites } from './block-sites.ts';
import { markCoherent } from './coherent-buffers.ts';
import type { DmaDebug } from './debug.ts';
import type { Entry, HeldEntry } from './entry.ts';

/** A pool with dma-debug, poisoned or not. */
export interface WatchedPool extends DmaPool {
  /** The allocated blocks. */
  out(): readonly HeldEntry[];
  /** The block at a device address in a region, allocated or free. */
  blockAt(region: OwnRegion, address: number): HeldEntry | undefined;
}

/** Makes a pool class with records. Neither class knows the other, so that V8 sees one shape for each. */
function watched(Pool: typeof DmaPool) {
  return class extends Pool implements WatchedPool {
    protected readonly debug: DmaDebug;
    protected readonly sites: BlockSites;

    constructor(debug: DmaDebug, name: string, options: PoolOptions, owner: PoolOwner) {
      super(name, options, owner);
      this.debug = debug;
      this.sites = new BlockSites(debug.options.stacks);
    }

    override alloc(): DmaPoolBlock | null {
      const block = super.alloc() as PoolBlock | null;
      if (block !== null) this.sites.taken(block);
      return block;
    }

    override free(block: DmaPoolBlock): void {
      super.free(block);
      this.sites.freed(block as PoolBlock);
    }

    override allocMany(into: (DmaPoolBlock | undefined)[], count: number = into?.length): boolean {
      const allocated = super.allocMany(into, count);
      if (allocated) for (const block of this.moved(count)) this.sites.taken(block);
      return allocated;
    }

    override freeMany(blocks: readonly (DmaPoolBlock | undefined)[], count: number = blocks?.length): void {
      super.freeMany(blocks, count);
      for (const block of this.moved(count)) this.sites.freed(block);
    }

    override allocIndices(into: BlockIndices, count: number = into?.length): boolean {
      const allocated = super.allocIndices(into, count);
      if (allocated) for (const block of this.moved(count)) this.sites.taken(block);
      return allocated;
    }

    override freeIndices(indices: BlockIndices, count: number = indices?.length): void {
      super.freeIndices(indices, count);
      for (const block of this.moved(count)) this.sites.freed(block);
    }

    protected override prepare(unit: Uint8Array): void {
      super.prepare(unit);
      markCoherent(unit.buffer);
    }

    override destroy(): void {
      const entry = this.debug.ledger.heldBy(this);
      reporting(
        this.debug,
        'EBUSY',
        'pool-busy',
        () => entry,
        () => super.destroy(),
      );
    }

    override refuse(misuse: Misuse, block: PoolBlock, error: DmaError): DmaError {
      return this.debug.refused(misuse, this.sites.entryOf(block), error);
    }

    out(): readonly HeldEntry[] {
      return this.sites.out(this.blocks);
    }

    blockAt(region: OwnRegion, address: number): HeldEntry | undefined {
      return this.sites.at(this.blocks, region, address);
    }
  };
}

const DebugPool = watched(DmaPool);

/** A pool that notices writes to free blocks, and reports them. */
class DebugPoisonedPool extends watched(PoisonedPool) {
  /** The free block that was written. */
  private spoiled: PoolBlock | undefined;

  override alloc(): DmaPoolBlock | null {
    return this.reportingSpoiled(() => super.alloc());
  }

  override allocMany(into: (DmaPoolBlock | undefined)[], count?: number): boolean {
    return this.reportingSpoiled(() => super.allocMany(into, count));
  }

  override allocIndices(into: BlockIndices, count?: number): boolean {
    return this.reportingSpoiled(() => super.allocIndices(into, count));
  }

  protected override discard(block: PoolBlock): void {
    this.spoiled = block;
    super.discard(block);
  }

  private reportingSpoiled<T>(allocate: () => T): T {
    const spoiled = () => this.sites.entryOf(this.spoiled);
    return reporting(this.debug, 'EFAULT', 'pool-block-poisoned', spoiled, allocate);
  }
}

/** A pool with dma-debug. The parameters are those of the constructor of DmaPool. */
export function debugPool(
  debug: DmaDebug,
  name: string,
  options: PoolOptions,
  owner: PoolOwner,
): WatchedPool {
  return new (options.poison === true ? DebugPoisonedPool : DebugPool)(debug, name, options, owner);
}

/** Runs `action`. If it throws an error with this code, the error is reported before it is thrown on. */
function reporting<T>(
  debug: DmaDebug,
  code: ErrnoName,
  kind: ReportKind,
  entryOf: () => Entry | undefined,
  action: () => T,
): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof DmaError && error.code === code) debug.mistake(kind, error.message, entryOf());
    throw error;
  }
}
