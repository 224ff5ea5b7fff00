/**
 * Packets and the memory they lie in: one region, mapped once, cut into buffers. A packet object is made once and goes
 * round with its buffer.
 *
 *      pool -> receive ring -> driver's user -> transmit ring -> pool          whoever holds it may use it
 *
 * No buffer crosses a page. A device would not mind, but QEMU, behind its IOMMU, silently sends nothing of one that does.
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';

/** Bytes of a buffer, as the receiver is told (RCTL.BSIZE). */
export const BUFFER_BYTES = 2048;
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
  /** Bits 0 to 31 of the buffer's device address, as a signed number: V8 needs no object for it. */
  declare readonly low: number;
  /** Among the packets of its pool. */
  declare readonly index: number;
  declare readonly pool: PacketPool;

  constructor(pool: PacketPool, index: number, bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.length = 0;
    this.held = false;
    this.low = pool.lows[index]!;
    this.index = index;
    this.pool = pool;
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
  /** Bits 0 to 31 of each one's address, as `Packet.low`; bits 32 to 63 of all of them. */
  readonly lows: readonly number[];
  readonly high: number;
  readonly #memory: CoherentBuffer;
  /** Up to `available`; the one that came back last is the first to go. */
  readonly #free: number[];
  #available: number;

  /** @throws DmaError EINVAL count · ENOMEM, ENOSPC no memory */
  constructor(dma: DmaDevice, count: number) {
    if (!Number.isInteger(count) || count < 1 || count > MOST_PACKETS) {
      throw new DmaError('EINVAL', `a pool of ${String(count)} packets`, {
        remedy: `pass a whole number from 1 to ${MOST_PACKETS}`,
      });
    }
    const memory = dma.allocCoherent(count * BUFFER_BYTES);
    const places = Array.from({ length: count }, (_, index) => index * BUFFER_BYTES);
    this.#memory = memory;
    // No carry: the memory is aligned to its size, rounded up to a power of two.
    this.lows = places.map((at) => (memory.low + at) | 0);
    this.high = memory.high;
    this.packets = places.map(
      (at, index) =>
        new Packet(this, index, new Uint8Array(memory.buffer, memory.bytes.byteOffset + at, BUFFER_BYTES)),
    );
    this.#free = places.map((_, index) => count - 1 - index);
    this.#available = count;
  }

  get available(): number {
    return this.#available;
  }

  /** Index of a free packet; there must be one. */
  take(): number {
    return this.#free[--this.#available]!;
  }

  put(index: number): void {
    this.#free[this.#available++] = index;
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
