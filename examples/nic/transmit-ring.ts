/**
 * The transmit ring. The device reports only the last packet of each call. Calls are combined into groups of a few
 * dozen packets. When the last packet of a group is reported, the whole group is done, so one read is enough for each
 * group.
 *
 *       oldest                               tail
 *        v                                    v
 *      [ group . . . R ][ group . R . . . R ][ ours . . . . ]--> back to the first
 *
 * One descriptor is always ours: head = tail means empty.
 */
import { type CoherentBuffer, type DmaDevice, DmaError } from '../../lib/index.ts';
import {
  BUFFER_SHIFT,
  LONGEST_FRAME,
  notHeld,
  type Packet,
  type PacketPool,
  SHORTEST_FRAME,
} from './packet.ts';
import { COMMAND, DESCRIPTOR, DONE, REGISTER, TransmitDescriptor } from './registers.ts';
import { type Doorbell, LOT, notRunning, type Transmitter } from './ring.ts';

// V8 treats a module's own constants as constants, but loads imported ones from memory.
const {
  words: WORDS,
  addressLow: ADDRESS,
  addressHigh: ADDRESS_HIGH,
  command: COMMANDS,
  state: STATE,
} = DESCRIPTOR;
// V8 checks products for overflow, and shifts not.
const TO_WORDS = Math.log2(WORDS);
const TAIL = REGISTER.transmitTail;
const REPORT = COMMAND.reportStatus;
const REPORTED = DONE;
const SEND = COMMAND.endOfPacket | COMMAND.insertCrc;
const SHIFT = BUFFER_SHIFT;
const SHORTEST = SHORTEST_FRAME;
const LONGEST = LONGEST_FRAME;

export class TransmitRing implements Transmitter {
  /** The most packets that it can hold. */
  readonly capacity: number;
  readonly #registers: Doorbell;
  readonly #pool: PacketPool;
  readonly #memory: CoherentBuffer;
  readonly #words: Int32Array;
  readonly #entries: number;
  /** The index of the packet of each descriptor that is under way. */
  readonly #slots: number[];
  /** By the first descriptor of a group: the last one. */
  readonly #ends: number[];
  /** The size of a group, if packets come in small calls. */
  readonly #lot: number;
  #oldest = 0;
  #tail = 0;
  #underWay = 0;
  /** The newest group: its first descriptor, and the number of its packets. */
  #group = 0;
  #grouped = 0;
  #running = false;
  #failure: DmaError | undefined;

  /** @param count of descriptors, checked @throws DmaError ENOMEM, ENOSPC no memory */
  constructor(dma: DmaDevice, registers: Doorbell, pool: PacketPool, count: number) {
    this.capacity = count - 1;
    this.#registers = registers;
    this.#pool = pool;
    this.#entries = count;
    this.#slots = Array.from({ length: count }, () => 0);
    this.#ends = Array.from({ length: count }, () => 0);
    this.#lot = Math.min(LOT, count / 4);
    this.#memory = dma.allocCoherent(count * TransmitDescriptor.size);
    this.#words = new Int32Array(this.#memory.buffer, this.#memory.bytes.byteOffset, count * WORDS);
  }

  /** The number of packets that can be sent now. */
  get room(): number {
    this.reclaim();
    return this.capacity - this.#underWay;
  }

  /** Tells the device the address of the ring. The transmitter is off. */
  start(): void {
    this.#words.fill(0);
    const { high } = this.#pool;
    for (let slot = 0; slot < this.#entries; slot++) this.#words[slot * WORDS + ADDRESS_HIGH] = high;
    this.#oldest = this.#tail = this.#underWay = this.#group = this.#grouped = 0;
    this.#running = true;
    this.#registers.write32(REGISTER.transmitBaseLow, this.#memory.low);
    this.#registers.write32(REGISTER.transmitBaseHigh, this.#memory.high);
    this.#registers.write32(REGISTER.transmitBytes, this.#memory.size);
    this.#registers.write32(REGISTER.transmitHead, 0);
    this.#registers.write32(REGISTER.transmitTail, 0);
  }

  transmit(batch: readonly Packet[], from = 0, count: number = batch.length - from): number {
    // V8 makes one comparison of `=== true`, and a dozen instructions of a question for any true value.
    if (this.#running !== true) throw this.#stopped();
    if (from >>> 0 !== from || count >>> 0 !== count || from + count > batch.length) {
      throw outside(batch, from, count);
    }
    if (this.#underWay >= this.#lot) this.#clean(this.#lot);
    if (this.#underWay + count > this.capacity) this.#clean(1);
    const room = this.capacity - this.#underWay;
    const sent = count < room ? count : room;
    if (sent === 0) return 0;
    const words = this.#words;
    const slots = this.#slots;
    const entries = slots.length;
    const pool = this.#pool;
    const { low } = pool;
    const start = this.#tail;
    const end = from + sent;
    let slot = start;
    for (let place = from; place < end; place++) {
      const packet = batch[place];
      // With `packet?.held` V8 would look at the kind of the object twice.
      if (packet === undefined || packet === null || packet.held !== true || packet.pool !== pool) {
        throw this.#refuse(batch, from, place, packet);
      }
      const { length, index } = packet;
      if ((length | 0) !== length || length < SHORTEST || length > LONGEST) {
        throw this.#refuse(batch, from, place, packet);
      }
      packet.held = false;
      slots[slot] = index;
      const at = slot << TO_WORDS;
      words[at + ADDRESS] = low + (index << SHIFT);
      words[at + COMMANDS] = SEND | length;
      if (++slot === entries) slot = 0;
    }
    const last = (slot === 0 ? entries : slot) - 1;
    words[(last << TO_WORDS) + STATE] = 0;
    words[(last << TO_WORDS) + COMMANDS]! |= REPORT;
    this.#append(start, last, sent);
    this.#tail = slot;
    this.#registers.write32(TAIL, slot);
    return sent;
  }

  /** All packets that were sent go back to the pool. */
  reclaim(): void {
    if (!this.#running) throw this.#stopped();
    this.#clean(1);
  }

  /** The device is gone: every call throws `error` from here on. */
  fail(error: DmaError): void {
    this.#running = false;
    this.#failure = error;
  }

  /** The transmitter is off: the packets of the ring go back to the pool. */
  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    this.#release(this.#underWay);
  }

  /** Frees the memory. The device must not use it any more. Calling it twice is harmless. */
  [Symbol.dispose](): void {
    this.stop();
    this.#memory[Symbol.dispose]();
  }

  /**
   * Adds packets to the newest group. If that group is large enough, or has been freed, they get a group of their
   * own.
   */
  #append(start: number, last: number, count: number): void {
    if (this.#underWay === 0 || this.#grouped >= this.#lot) {
      this.#group = start;
      this.#grouped = 0;
    }
    this.#ends[this.#group] = last;
    this.#grouped += count;
    this.#underWay += count;
  }

  /** Frees the groups that were sent, the oldest first, until fewer than `least` packets are under way. */
  #clean(least: number): void {
    while (this.#underWay >= least) {
      const end = this.#ends[this.#oldest]!;
      if ((Atomics.load(this.#words, end * WORDS + STATE) & REPORTED) === 0) return;
      const distance = end - this.#oldest;
      this.#release(1 + (distance < 0 ? distance + this.#entries : distance));
    }
  }

  /** The oldest packets go back to the pool. */
  #release(count: number): void {
    const slots = this.#slots;
    const entries = slots.length;
    const pool = this.#pool;
    const { free } = pool;
    let { available } = pool;
    let slot = this.#oldest;
    for (let i = 0; i < count; i++) {
      free[available++] = slots[slot]!;
      if (++slot === entries) slot = 0;
    }
    pool.available = available;
    this.#oldest = slot;
    this.#underWay -= count;
  }

  /** The error of a call on a ring that does not run. */
  #stopped(): DmaError {
    return this.#failure ?? notRunning('transmit');
  }

  /** No packet of the batch was announced to the device. The caller gets back those before the bad one. */
  #refuse(batch: readonly Packet[], from: number, bad: number, packet: Packet | null | undefined): DmaError {
    // The bad one is judged first: it may be one of those before.
    const error = this.#refusal(batch, from, bad, packet);
    let slot = this.#tail;
    for (let place = from; place < bad; place++) {
      this.#pool.packets[this.#slots[slot]!]!.held = true;
      if (++slot === this.#entries) slot = 0;
    }
    return error;
  }

  #refusal(batch: readonly Packet[], from: number, bad: number, packet: Packet | null | undefined): DmaError {
    if (packet === undefined || packet === null) return outside(batch, from, bad + 1 - from);
    if (!packet.held) return notHeld(packet);
    if (packet.pool !== this.#pool) {
      return new DmaError('EINVAL', `packet ${packet.index} belongs to another NIC`, {
        remedy: 'copy it into a packet of this one, which may not reach the memory of the other',
      });
    }
    return new DmaError('EINVAL', `a frame of ${String(packet.length)} bytes`, {
      remedy: `send ${SHORTEST_FRAME} to ${LONGEST_FRAME} bytes, without CRC`,
    });
  }
}

function outside(batch: readonly Packet[], from: number, count: number): DmaError {
  return new DmaError('EINVAL', `${String(count)} packets from place ${String(from)} of ${batch.length}`, {
    remedy: 'pass a part of the batch that has packets',
  });
}
