/**
 * A pool that detects writes to free blocks (DMAPOOL_DEBUG). They come from a device with a stale descriptor, or from
 * a driver that kept a view. The kernel logs the write and allocates the block. Here `alloc` throws, and the block
 * stays out of use, because the same device or driver may write there again. The next `alloc` takes another block.
 */
import { DmaError } from '../../errors.ts';
import { type DmaPoolBlock, hexAddress, type PoolBlock, takenAway } from './block.ts';
import { DmaPool } from './pool.ts';

const FREED = 0xa7;
const ALLOCATED = 0xa9;
/** The number of bytes quoted in the message. */
const QUOTED = 16;

/** A pool that poisons its free blocks, and detects writes to them. */
export class PoisonedPool extends DmaPool {
  override alloc(): DmaPoolBlock | null {
    const block = super.alloc() as PoolBlock | null;
    if (block === null) return null;
    if (block.chunk.bytes.length === 0) {
      this.discard(block);
      throw takenAway(block);
    }
    const bytes = block.bytes;
    const offset = bytes.findIndex((byte) => byte !== FREED);
    if (offset >= 0) {
      this.discard(block);
      throw corruption(block, bytes, offset);
    }
    bytes.fill(ALLOCATED);
    return block;
  }

  override free(block: DmaPoolBlock): void {
    super.free(block);
    (block as PoolBlock).fill(FREED);
  }

  protected override prepare(unit: Uint8Array): void {
    unit.fill(FREED);
  }
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
