/**
 * The receive ring. Every descriptor always has a buffer. When one has received a packet, its packet goes to the
 * caller, and a free one takes its place.
 *
 *       next                      tail
 *        v                         v
 *      [ the device's . . . . . . ][ ours ]--> back to the first        one is always ours: head = tail means empty
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';
import { countDone } from './done.ts';
import { BUFFER_SHIFT, LONGEST_FRAME, type Packet, type PacketPool, SHORTEST_FRAME } from './packet.ts';
import { DESCRIPTOR, DONE, END_OF_PACKET, RECEIVE_ERRORS, REGISTER, ReceiveDescriptor } from './registers.ts';
import { type Doorbell, LOT, notRunning, type Receiver } from './ring.ts';

// V8 treats a module's own constants as constants, but loads imported ones from memory.
const { words: WORDS, addressLow: ADDRESS, length: LENGTH, state: STATE } = DESCRIPTOR;
// V8 checks products for overflow, and shifts not.
const TO_WORDS = Math.log2(WORDS);
const SHIFT = BUFFER_SHIFT;
const TAIL = REGISTER.receiveTail;
// A packet has one descriptor. The device drops packets longer than standard frames (RCTL.LPE off), and standard ones
// fit a buffer. The ring checks the device nevertheless: it drops a length beyond the buffer, and one that no ring
// would send.
const JUDGED = DONE | END_OF_PACKET | RECEIVE_ERRORS;
const GOOD = DONE | END_OF_PACKET;
const SHORTEST = SHORTEST_FRAME;
const LENGTHS = LONGEST_FRAME - SHORTEST_FRAME;

export class ReceiveRing implements Receiver {
  readonly #registers: Doorbell;
  readonly #pool: PacketPool;
  readonly #memory: CoherentBuffer;
  readonly #words: Int32Array;
  readonly #entries: number;
  /** The index of each descriptor's packet, while running. */
  readonly #slots: number[];
  /** The number of refilled descriptors that are announced at once, because a doorbell costs more than a packet. */
  readonly #lot: number;
  #next = 0;
  #kept = 0;
  #running = false;
  #failure: DmaError | undefined;
  #dropped = 0;

  /** @param count of descriptors, checked @throws DmaError ENOMEM, ENOSPC no memory */
  constructor(dma: DmaDevice, registers: Doorbell, pool: PacketPool, count: number) {
    this.#registers = registers;
    this.#pool = pool;
    this.#entries = count;
    this.#slots = Array.from({ length: count }, () => 0);
    this.#lot = Math.min(LOT, count / 4);
    this.#memory = dma.allocCoherent(count * ReceiveDescriptor.size);
    this.#words = new Int32Array(this.#memory.buffer, this.#memory.bytes.byteOffset, count * WORDS);
  }

  /** The number of descriptors that were not a whole, good packet, or whose length is not that of a frame. */
  get dropped(): number {
    return this.#dropped;
  }

  /** True if a packet is there. */
  get ready(): boolean {
    if (!this.#running) throw this.#refusal(0);
    return countDone(this.#words, this.#next, this.#entries, 1) > 0;
  }

  /**
   * Fills the ring, and tells the device its address. The receiver is off.
   * @throws DmaError ENOMEM too few packets are free
   */
  start(): void {
    const entries = this.#entries;
    if (this.#pool.available < entries) {
      throw new DmaError('ENOMEM', `${this.#pool.available} packets for ${entries} receive descriptors`, {
        remedy: 'make more packets, or free those that were received before',
      });
    }
    const descriptors = ReceiveDescriptor.over(this.#memory.bytes);
    for (let slot = 0; slot < entries; slot++) {
      const index = this.#pool.take();
      this.#slots[slot] = index;
      descriptors.clear(slot);
      const { low, high } = this.#pool.packets[index]!;
      descriptors.address.setParts(slot, low, high);
    }
    this.#next = this.#kept = 0;
    this.#running = true;
    this.#registers.write32(REGISTER.receiveBaseLow, this.#memory.low);
    this.#registers.write32(REGISTER.receiveBaseHigh, this.#memory.high);
    this.#registers.write32(REGISTER.receiveBytes, this.#memory.size);
    this.#registers.write32(REGISTER.receiveHead, 0);
    this.#registers.write32(REGISTER.receiveTail, entries - 1);
  }

  receive(batch: Packet[], max: number = batch.length): number {
    // V8 makes one comparison of `=== true`, and a dozen instructions of a question for any true value.
    if (this.#running !== true || max >>> 0 !== max) throw this.#refusal(max);
    const words = this.#words;
    const slots = this.#slots;
    // V8 knows that a length is a small integer. It would check a field in each turn.
    const entries = slots.length;
    const pool = this.#pool;
    const { packets, free, low } = pool;
    let { available } = pool;
    // Math.min would convert to doubles.
    let limit = available < max ? available : max;
    if (limit >= entries) limit = entries - 1;
    let slot = this.#next;
    const ready = countDone(words, slot, entries, limit);
    let received = 0;
    let i = 0;
    try {
      for (; i < ready; i++) {
        const at = slot << TO_WORDS;
        const length = words[at + LENGTH]! & 0xffff;
        // One comparison checks both ends: without its sign, a negative number is a large one.
        if ((words[at + STATE]! & JUDGED) === GOOD && (length - SHORTEST) >>> 0 <= LENGTHS) {
          const packet = packets[slots[slot]!]!;
          batch[received] = packet;
          received++;
          packet.length = length;
          packet.held = true;
          const fresh = free[--available]!;
          slots[slot] = fresh;
          // The upper half of the address is the same for all.
          words[at + ADDRESS] = low + (fresh << SHIFT);
        }
        words[at + STATE] = 0;
        if (++slot === entries) slot = 0;
      }
    } finally {
      // If the batch cannot be written, for example because it is frozen, the packets that are not in it stay here.
      pool.available = available;
      this.#next = slot;
      this.#kept += i;
      this.#dropped += i - received;
    }
    // If there is nothing more to do, there is time for the doorbell.
    if (this.#kept >= this.#lot || (ready < max && this.#kept > 0)) this.#giveBack();
    return received;
  }

  /** The device is gone: every call throws `error` from here on. */
  fail(error: DmaError): void {
    this.#running = false;
    this.#failure = error;
  }

  /** The receiver is off: the packets of the ring go back to the pool. */
  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    for (const index of this.#slots) this.#pool.put(index);
  }

  /** Frees the memory. The device must not use it any more. Calling it twice is harmless. */
  [Symbol.dispose](): void {
    this.stop();
    this.#memory[Symbol.dispose]();
  }

  /** Why no packets are received: the ring does not run, or `max` is no count. */
  #refusal(max: number): DmaError {
    if (!this.#running) return this.#failure ?? notRunning('receive');
    return new DmaError('EINVAL', `${String(max)} packets are wanted`, {
      remedy: 'pass a whole number from 0',
    });
  }

  /** Gives the device all refilled descriptors but the last. */
  #giveBack(): void {
    this.#kept = 0;
    this.#registers.write32(TAIL, this.#next === 0 ? this.#entries - 1 : this.#next - 1);
  }
}
