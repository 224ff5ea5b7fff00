/**
 * Packets and the memory they lie in: one region, mapped once, cut into buffers. A packet object is made once and goes
 * round with its buffer.
 *
 *      pool -> receive ring -> driver's user -> transmit ring -> pool          its holder may use it
 *
 * No buffer crosses a page. A device would not mind, but QEMU, behind its IOMMU, silently sends nothing of one that
 * does.
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';

/** Bytes of a buffer, as the receiver is told (RCTL.BSIZE), and its logarithm. */
export const BUFFER_BYTES = 2048;
export const BUFFER_SHIFT = 11;
const MOST_PACKETS = 2 ** 19;
/** Bytes of an Ethernet frame without its CRC: its header; header and 1,500 bytes; the same with a VLAN tag. */
export const SHORTEST_FRAME = 14;
export const LONGEST_FRAME = 1518;

/** A buffer and what is in it. Fields are declared, not defined, as those of a pool's block. */
export class Packet {
  /** All of its buffer, 2,048 bytes; `length` of them are the frame. */
  declare readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of the frame without its CRC: set it before `transmit`. */
  declare length: number;
  /** Whether the driver's user has it; if not, a ring or the pool. These set it. */
  declare held: boolean;
  /** Among the packets of its pool. */
  declare readonly index: number;
  declare readonly pool: PacketPool;

  constructor(pool: PacketPool, index: number, bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.length = 0;
    this.held = false;
    this.index = index;
    this.pool = pool;
  }

  /** Bits 0 to 31 of the buffer's address for the device. */
  get low(): number {
    return (this.pool.low + (this.index << BUFFER_SHIFT)) >>> 0;
  }

  /** Bits 32 to 63 of it. */
  get high(): number {
    return this.pool.high;
  }

  /** Back to its pool unsent. @throws DmaError EINVAL the caller does not hold it */
  free(): void {
    if (!this.held) throw notHeld(this);
    this.held = false;
    this.pool.put(this.index);
  }
}

/** Free packets, by their indices: small integers, which V8 stores without a write barrier. */
export class PacketPool {
  /** All there are, by their index. */
  readonly packets: readonly Packet[];
  /**
   * Address of the first one's buffer, bits 0 to 31 as a signed number, which V8 needs no object for; the others
   * follow. Bits 32 to 63 of all of them: their memory is aligned to its size, rounded up to a power of two.
   */
  readonly low: number;
  readonly high: number;
  /**
   * Those that are free, up to `available`; the one that came back last is the first to go. Rings take and put here.
   */
  readonly free: number[];
  available: number;
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

  /** Index of a free packet; there must be one. */
  take(): number {
    return this.free[--this.available]!;
  }

  put(index: number): void {
    this.free[this.available++] = index;
  }

  /** The device must no longer use the memory; every view of it has length 0 afterwards. Harmless to call twice. */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

/** For what only the holder of a packet may do. */
export function notHeld({ index }: Packet): DmaError {
  return new DmaError('EINVAL', `packet ${index} is not yours: it was freed, or sent`, {
    remedy: 'pass a packet on, or free it, once',
  });
}
