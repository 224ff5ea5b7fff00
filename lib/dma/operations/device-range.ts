/** The device addresses that one device holds. */
import { LiveEntry } from '../words/live-list.ts';

/** The buffers of a range for memory that is not the device's own. */
const NONE: readonly ArrayBuffer[] = [];

/**
 * A range of device addresses, and the device's own memory there. The holder passes the object back when it frees the
 * range, so that the operations need not search for the parts of an address.
 */
export class DeviceRange extends LiveEntry {
  /** The device address of the first byte. */
  readonly address: number;
  /** Bytes given to the device: the requested size, rounded up to whole granules. */
  readonly span: number;
  /**
   * The memory that was allocated for these addresses and is freed with them, in order. All buffers but the last are
   * whole granules, and they lie side by side for the device. A range that was only reserved has no buffers.
   */
  buffers: readonly ArrayBuffer[];

  constructor(address: number, span: number, buffers: readonly ArrayBuffer[] = NONE) {
    super();
    this.address = address;
    this.span = span;
    this.buffers = buffers;
  }
}
