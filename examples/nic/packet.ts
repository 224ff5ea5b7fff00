/**
 * Packets and their memory: one region, mapped once, cut into buffers. A packet object is made once, and keeps its
 * buffer.
 *
 *      pool -> receive ring -> driver's user -> transmit ring -> pool          its holder may use it
 *
 * No buffer crosses a page. A real device would accept that, but QEMU's device behind its IOMMU sends nothing from a
 * buffer that crosses one, and reports no error.
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';

/** The size of a buffer in bytes, as the receiver is told (RCTL.BSIZE), and its logarithm. */
export const BUFFER_BYTES = 2048;
export const BUFFER_SHIFT = 11;
const MOST_PACKETS = 2 ** 19;
/** Bytes of an Ethernet frame without its CRC: the header; the header and 1,500 bytes; that with a VLAN tag. */
export const SHORTEST_FRAME = 14;
export const LONGEST_FRAME = 1518;

/** A buffer and the frame in it. Fields are declared, not defined, as in the blocks of a pool. */
export class Packet {
  /** The whole buffer, 2,048 bytes. The first `length` bytes are the frame. */
  declare readonly bytes: Uint8Array<ArrayBuffer>;
  /** The bytes of the frame without its CRC. Set it before `transmit`. */
  declare length: number;
  /** True if the driver's user holds the packet. If not, a ring or the pool holds it. They set this field. */
  declare held: boolean;
  /** The index in its pool. */
  declare readonly index: number;
  declare readonly pool: PacketPool;

  constructor(pool: PacketPool, index: number, bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.length = 0;
    this.held = false;
    this.index = index;
    this.pool = pool;
  }

  /** Bits 0 to 31 of the device address of the buffer. */
  get low(): number {
    return (this.pool.low + (this.index << BUFFER_SHIFT)) >>> 0;
  }

  /** Bits 32 to 63 of that address. */
  get high(): number {
    return this.pool.high;
  }

  /** Returns the packet to its pool, unsent. @throws DmaError EINVAL the caller does not hold it */
  free(): void {
    if (!this.held) throw notHeld(this);
    this.held = false;
    this.pool.put(this.index);
  }
}

/**
 * The free packets, by index. An index is a small integer, which V8 stores without a write barrier. Fields are
 * declared, as in a packet.
 */
export class PacketPool {
  /** All packets of the pool, by index. */
  declare readonly packets: readonly Packet[];
  /**
   * Bits 0 to 31 of the address of the first buffer, as a signed number, for which V8 needs no object. The other
   * buffers follow it. Bits 32 to 63 are equal for all of them, because their memory is aligned to its size, rounded
   * up to a power of two.
   */
  declare readonly low: number;
  declare readonly high: number;
  /**
   * The first `available` elements are the free packets. The one that came back last is used first. Rings take and
   * put packets here.
   */
  declare readonly free: number[];
  declare available: number;
  readonly #memory: CoherentBuffer;

  /** @throws DmaError EINVAL count · ENOMEM, ENOSPC no memory */
  constructor(dma: DmaDevice, count: number) {
    if (!Number.isInteger(count) || count < 1 || count > MOST_PACKETS) {
      throw new DmaError('EINVAL', `a pool of ${String(count)} packets`, {
        remedy: `pass a whole number from 1 to ${MOST_PACKETS}`,
      });
    }
    const memory = dma.allocCoherent(count * BUFFER_BYTES);
    this.#memory = memory;
    this.low = memory.low | 0;
    this.high = memory.high;
    this.packets = Array.from({ length: count }, (_, index) => {
      const at = memory.bytes.byteOffset + index * BUFFER_BYTES;
      return new Packet(this, index, new Uint8Array(memory.buffer, at, BUFFER_BYTES));
    });
    this.free = Array.from({ length: count }, (_, index) => count - 1 - index);
    this.available = count;
  }

  /** The index of a free packet. There must be one. */
  take(): number {
    return this.free[--this.available]!;
  }

  put(index: number): void {
    this.free[this.available++] = index;
  }

  /**
   * Frees the memory. The device must not use it any more; every view of it then has length 0. Calling it twice is
   * harmless.
   */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

/** The error of an action that only the holder of a packet may do. */
export function notHeld({ index }: Packet): DmaError {
  return new DmaError('EINVAL', `packet ${index} is not yours: it was freed, or sent`, {
    remedy: 'pass a packet on, or free it, once',
  });
}
