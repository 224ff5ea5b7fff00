/** The direction of a streaming mapping (enum dma_data_direction). */
import { describe } from './arguments.ts';
import { DmaError } from './errors.ts';

/** Which way bytes go between memory and device (enum dma_data_direction). */
export type DmaDirection = 'to-device' | 'from-device' | 'bidirectional';

/** The device reads the memory. */
export const DEVICE_READS = 1;
/** The device writes the memory. */
export const DEVICE_WRITES = 2;

/**
 * The direction as bits: DEVICE_READS and DEVICE_WRITES.
 * @throws DmaError EINVAL if it is not a direction, as the kernel's BUG_ON(!valid_dma_direction(dir))
 */
export function directionBits(direction: DmaDirection): number {
  if (direction === 'to-device') return DEVICE_READS;
  if (direction === 'from-device') return DEVICE_WRITES;
  if (direction === 'bidirectional') return DEVICE_READS | DEVICE_WRITES;
  throw new DmaError('EINVAL', `the direction is ${describe(direction)}`, {
    remedy: `pass 'to-device', 'from-device' or 'bidirectional'`,
  });
}

/** The direction that these bits stand for. */
export function directionOf(bits: number): DmaDirection {
  if (bits === DEVICE_READS) return 'to-device';
  return bits === DEVICE_WRITES ? 'from-device' : 'bidirectional';
}
