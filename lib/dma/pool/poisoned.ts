/**
 * A pool that detects writes to free blocks (DMAPOOL_DEBUG). They come from a device with a stale descriptor, or from
 * a driver that kept a view. The kernel logs the write and allocates the block. Here `alloc` throws, and the block
 * stays out of use, because the same device or driver may write there again. The next `alloc` takes another block.
 */
import { DmaError } from '../../errors.ts';
import { type DmaPoolBlock, hexAddress, type PoolBlock, takenAway } from './block.ts';
import { DmaPool } from './pool.ts';
import type { BlockIndices } from './stack.ts';

const FREED = 0xa7;
const ALLOCATED = 0xa9;
/** The number of bytes quoted in the message. */
const QUOTED = 16;

/** A pool that poisons its free blocks, and detects writes to them. */
export class PoisonedPool extends DmaPool {
  override alloc(): DmaPoolBlock | null {
    const block = super.alloc() as PoolBlock | null;
    if (block !== null) this.#examine([block]);
    return block;
  }

  override free(block: DmaPoolBlock): void {
    super.free(block);
    (block as PoolBlock).fill(FREED);
  }

  override allocMany(into: (DmaPoolBlock | undefined)[], count: number = into?.length): boolean {
    const allocated = super.allocMany(into, count);
    if (allocated) this.#examine(this.moved(count).reverse());
    return allocated;
  }

  override freeMany(blocks: readonly (DmaPoolBlock | undefined)[], count: number = blocks?.length): void {
    super.freeMany(blocks, count);
    for (const block of this.moved(count)) block.fill(FREED);
  }

  override allocIndices(into: BlockIndices, count: number = into?.length): boolean {
    const allocated = super.allocIndices(into, count);
    if (allocated) this.#examine(this.moved(count).reverse());
    return allocated;
  }

  override freeIndices(indices: BlockIndices, count: number = indices?.length): void {
    super.freeIndices(indices, count);
    for (const block of this.moved(count)) block.fill(FREED);
  }

  protected override prepare(unit: Uint8Array): void {
    unit.fill(FREED);
  }

  /** Poison blocks that were just allocated. @throws DmaError EFAULT one was spoiled; then all others are free again */
  #examine(blocks: readonly PoolBlock[]): void {
    for (const block of blocks) {
      const spoiled = spoilt(block);
      if (spoiled === undefined) continue;
      // The others still have the bytes of free blocks.
      super.freeMany(blocks.filter((other) => other !== block));
      this.discard(block);
      throw spoiled;
    }
    for (const block of blocks) block.fill(ALLOCATED);
  }
}

/** The error of a free block that does not have the bytes of one. */
function spoilt(block: PoolBlock): DmaError | undefined {
  if (block.chunk.bytes.length === 0) return takenAway(block);
  const { bytes } = block;
  const offset = bytes.findIndex((byte) => byte !== FREED);
  return offset < 0 ? undefined : corruption(block, bytes, offset);
}

function corruption(block: PoolBlock, bytes: Uint8Array, offset: number): DmaError {
  const last = bytes.findLastIndex((byte) => byte !== FREED);
  const found = [...bytes.subarray(offset, Math.min(last + 1, offset + QUOTED))];
  const quoted = found.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const where = `block ${hexAddress(block)} of pool '${block.pool.name}'`;
  return new DmaError(
    'EFAULT',
    `${where} was written while free: from offset ${offset} on it holds ${quoted}`,
    {
      remedy: 'stop the device before a block is freed; this one is not used again',
    },
  );
}
