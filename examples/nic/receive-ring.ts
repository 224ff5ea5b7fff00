/**
 * The receive ring: every descriptor has a buffer, always. One that is received is handed out, and a free one takes its
 * place.
 *
 *       next                      tail
 *        v                         v
 *      [ the device's . . . . . . ][ ours ]--> back to the first        one is always ours: head = tail means empty
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';
import { countDone } from './done.ts';
import { BUFFER_SHIFT, LONGEST_FRAME, type Packet, type PacketPool, SHORTEST_FRAME } from './packet.ts';
import { DESCRIPTOR, DONE, END_OF_PACKET, RECEIVE_ERRORS, REGISTER, ReceiveDescriptor } from './registers.ts';
import { checkDescriptors, type Doorbell, LOT, notRunning, type Receiver } from './ring.ts';

// V8 folds a module's own constants, and loads imported ones.
const { words: WORDS, addressLow: ADDRESS, length: LENGTH, state: STATE } = DESCRIPTOR;
const SHIFT = BUFFER_SHIFT;
// A packet has one descriptor: the device drops those longer than standard frames (RCTL.LPE off), which fit a buffer.
// The ring drops what the device passes all the same: a length beyond the buffer, or one that no ring would send on.
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
  /** Index of the packet of each descriptor, while running. */
  readonly #slots: number[];
  /** Refilled descriptors that the device is told of at once: a doorbell costs more than a packet. */
  readonly #lot: number;
  #next = 0;
  #kept = 0;
  #running = false;
  #failure: DmaError | undefined;
  #dropped = 0;

  /** @throws DmaError EINVAL count · ENOMEM, ENOSPC no memory */
  constructor(dma: DmaDevice, registers: Doorbell, pool: PacketPool, count: number) {
    checkDescriptors(count);
    this.#registers = registers;
    this.#pool = pool;
    this.#entries = count;
    this.#slots = new Array<number>(count).fill(0);
    this.#lot = Math.min(LOT, count / 4);
    this.#memory = dma.allocCoherent(count * ReceiveDescriptor.size);
    this.#words = new Int32Array(this.#memory.buffer, this.#memory.bytes.byteOffset, count * WORDS);
  }

  /** Descriptors that were no whole good packet, or whose length is that of no frame. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether a packet is there. */
  get ready(): boolean {
    if (!this.#running) throw this.#failure ?? notRunning('receive');
    return countDone(this.#words, this.#next, this.#entries, 1) > 0;
  }

  /**
   * Fill it, and tell the device where it is, whose receiver is off.
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
    if (!this.#running) throw this.#failure ?? notRunning('receive');
    if (max >>> 0 !== max) throw badCount(max);
    const words = this.#words;
    const entries = this.#entries;
    const slots = this.#slots;
    const pool = this.#pool;
    const { packets, free, low } = pool;
    let { available } = pool;
    // Math.min would go by way of doubles.
    let limit = available < max ? available : max;
    if (limit >= entries) limit = entries - 1;
    const ready = countDone(words, this.#next, entries, limit);
    let slot = this.#next;
    let received = 0;
    for (let i = 0; i < ready; i++) {
      const at = slot * WORDS;
      const length = words[at + LENGTH]! & 0xffff;
      // One comparison for both ends: a negative number is a large one without its sign.
      if ((words[at + STATE]! & JUDGED) === GOOD && (length - SHORTEST) >>> 0 <= LENGTHS) {
        const packet = packets[slots[slot]!]!;
        packet.length = length;
        packet.held = true;
        batch[received++] = packet;
        const fresh = free[--available]!;
        slots[slot] = fresh;
        // The upper half is the same for all.
        words[at + ADDRESS] = low + (fresh << SHIFT);
      } else {
        this.#dropped++;
      }
      words[at + STATE] = 0;
      slot = slot + 1 === entries ? 0 : slot + 1;
    }
    pool.available = available;
    this.#next = slot;
    this.#kept += ready;
    // When there is nothing more to do, there is time for the doorbell.
    if (this.#kept >= this.#lot || (ready < max && this.#kept > 0)) this.#giveBack();
    return received;
  }

  /** The device is gone: every call throws `error` from here on. */
  fail(error: DmaError): void {
    this.#running = false;
    this.#failure = error;
  }

  /** The receiver is off: its packets go back to the pool. */
  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    for (const index of this.#slots) this.#pool.put(index);
  }

  /** The device must no longer use the memory. Harmless to call twice. */
  [Symbol.dispose](): void {
    this.stop();
    this.#memory[Symbol.dispose]();
  }

  /** The device gets all descriptors that were refilled but the last. */
  #giveBack(): void {
    this.#kept = 0;
    this.#registers.write32(REGISTER.receiveTail, this.#next === 0 ? this.#entries - 1 : this.#next - 1);
  }
}

function badCount(max: number): DmaError {
  return new DmaError('EINVAL', `${String(max)} packets are wanted`, {
    remedy: 'pass a whole number from 0',
  });
}
