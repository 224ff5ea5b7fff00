/**
 * Cache maintenance, for devices that do not see the CPU's caches. A device without cache maintenance is coherent.
 * For such a device the kernel's syncs do nothing either, unless memory is bounced.
 */

import { checkMethods } from './arguments.ts';
import type { DmaDirection } from './direction.ts';
import { checkPageSize } from './page-size.ts';

/**
 * Makes the CPU's and the device's view of memory agree. Ranges are bytes of a buffer, and may start and end inside a
 * cache line. The implementation treats other bytes in the line as the hardware does.
 */
export interface CacheMaintenance {
  /** Bytes of the longest cache line involved, a power of two (dma_get_cache_alignment). */
  readonly lineSize: number;

  /**
   * Make the CPU's writes visible to the device. Lines are cleaned for every direction (arch_sync_dma_for_device).
   */
  syncForDevice(buffer: ArrayBufferLike, offset: number, size: number, direction: DmaDirection): void;

  /** Make the device's writes visible to the CPU: lines are dropped, unless 'to-device' (arch_sync_dma_for_cpu). */
  syncForCpu(buffer: ArrayBufferLike, offset: number, size: number, direction: DmaDirection): void;
}

/** Throws DmaError EINVAL if the value is not cache maintenance. */
export function checkCache(cache: unknown, what: string): void {
  const remedy = 'pass an object with lineSize, syncForDevice and syncForCpu';
  checkMethods(cache, what, ['syncForDevice', 'syncForCpu'], remedy);
  checkPageSize((cache as CacheMaintenance).lineSize, `lineSize of ${what}`);
}
