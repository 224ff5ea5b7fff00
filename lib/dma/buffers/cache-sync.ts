/** dma_cache_sync of the 4.x kernel: it syncs noncoherent memory that the caller names by a view. */

import type { CacheMaintenance } from '../../cache.ts';
import { type DmaDirection, directionBits } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import type { OwnMemory } from '../operations/own-memory.ts';

/**
 * Sync bytes of noncoherent memory. 'to-device' lets the device see the writes of the CPU. 'from-device' lets the CPU
 * see the writes of the device. 'bidirectional' does first the one and then the other.
 * @throws DmaError EINVAL direction, not noncoherent memory of the device, or not whole cache lines
 */
export function cacheSync(
  own: OwnMemory,
  cache: CacheMaintenance | undefined,
  view: ArrayBufferView,
  direction: DmaDirection,
): void {
  directionBits(direction);
  const region = ArrayBuffer.isView(view) ? own.regionOf(view.buffer) : undefined;
  // If the buffer is detached, reading even the length of a DataView throws.
  const detached = region?.buffer.byteLength === 0;
  if (region?.noncoherent !== true || detached || view.byteLength === 0) {
    throw new DmaError('EINVAL', 'these bytes are not noncoherent memory of the device', {
      remedy:
        'pass part of what allocNoncoherent, allocPages or allocNoncontiguous returned and is not freed',
    });
  }
  if (cache === undefined) return;
  const { byteOffset, byteLength } = view;
  checkLines(byteOffset, byteOffset + byteLength, region.size, cache.lineSize);
  if (direction !== 'from-device') cache.syncForDevice(region.buffer, byteOffset, byteLength, direction);
  if (direction !== 'to-device') cache.syncForCpu(region.buffer, byteOffset, byteLength, direction);
}

/** A sync of part of a cache line would also write back or lose the other bytes in the line. */
function checkLines(from: number, to: number, size: number, lineSize: number): void {
  if (from % lineSize === 0 && (to % lineSize === 0 || to === size)) return;
  throw new DmaError('EINVAL', `bytes ${from} to ${to} are not whole cache lines`, {
    remedy: `start and end at multiples of limits.cacheAlignment, ${lineSize} bytes`,
  });
}
