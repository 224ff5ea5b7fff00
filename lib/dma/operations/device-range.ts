/** Device addresses that one device holds. */
import { LiveEntry } from '../words/live-list.ts';

/** A range for memory that is not the device's own. */
const NONE: readonly ArrayBuffer[] = [];

/**
 * A range of device addresses, and the device's own memory there. The holder hands the object back, so that the
 * operations need not search for what belongs to an address.
 */
export class DeviceRange extends LiveEntry {
  /** Device address of the first byte. */
  readonly address: number;
  /** Bytes given to the device: the size asked for, rounded up to whole granules. */
  readonly span: number;
  /**
   * Memory that was allocated for these addresses and is freed with them, in order; all but the last are whole granules
   * and lie side by side for the device. None in a range that was only reserved.
   */
  buffers: readonly ArrayBuffer[];

  constructor(address: number, span: number, buffers: readonly ArrayBuffer[] = NONE) {
    super();
    this.address = address;
    this.span = span;
    this.buffers = buffers;
  }
}
