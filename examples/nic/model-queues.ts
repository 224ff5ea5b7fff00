/**
 * The two queues of the model (datasheet, 7.1 and 7.2). The driver owns the descriptors from tail to head, and the
 * device owns those from head to tail.
 */
import type { DeviceBus } from '../../lib/sim/index.ts';
import { BUFFER_BYTES } from './packet.ts';
import {
  COMMAND,
  DONE,
  END_OF_PACKET,
  REGISTER,
  ReceiveDescriptor,
  TRANSMIT_CONTROL,
  TransmitDescriptor,
} from './registers.ts';

const SHORTEST = 60;
const DESCRIPTOR_BYTES = 16;
/** The bytes that are written back to a received descriptor: all but the address. */
const WRITTEN_BACK = 8;
const STATE_OFFSET = 12;

/** The offsets of a queue's registers. */
interface Offsets {
  readonly low: number;
  readonly high: number;
  readonly bytes: number;
  readonly head: number;
  readonly tail: number;
}

/** A queue. Its registers are in `plain`, indexed by their offset divided by 4. */
class Queue {
  readonly #plain: Uint32Array;
  readonly #at: Offsets;

  constructor(plain: Uint32Array, at: Offsets) {
    this.#plain = plain;
    this.#at = at;
  }

  get empty(): boolean {
    const tail = this.#get(this.#at.tail);
    return this.#get(this.#at.head) === tail || tail * DESCRIPTOR_BYTES >= this.#get(this.#at.bytes);
  }

  /** The address of the descriptor at the head. */
  get address(): number {
    const base = this.#get(this.#at.high) * 2 ** 32 + this.#get(this.#at.low);
    return base + this.#get(this.#at.head) * DESCRIPTOR_BYTES;
  }

  advance(): void {
    const next = this.#get(this.#at.head) + 1;
    this.#plain[this.#at.head / 4] = next * DESCRIPTOR_BYTES >= this.#get(this.#at.bytes) ? 0 : next;
  }

  #get(offset: number): number {
    return this.#plain[offset / 4]!;
  }
}

export class ReceiveQueue {
  readonly #bus: DeviceBus;
  readonly #queue: Queue;
  readonly #bytes = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #descriptor = ReceiveDescriptor.over(this.#bytes);

  constructor(bus: DeviceBus, plain: Uint32Array) {
    this.#bus = bus;
    this.#queue = new Queue(plain, {
      low: REGISTER.receiveBaseLow,
      high: REGISTER.receiveBaseHigh,
      bytes: REGISTER.receiveBytes,
      head: REGISTER.receiveHead,
      tail: REGISTER.receiveTail,
    });
  }

  /** Puts a frame into the next buffer, which is large enough. @returns false if there was no buffer */
  put(frame: Uint8Array): boolean {
    if (this.#queue.empty || frame.length > BUFFER_BYTES) return false;
    const { address } = this.#queue;
    this.#bus.dmaRead(address, this.#bytes);
    const { address: buffer, length, state } = this.#descriptor;
    this.#bus.dmaWrite(buffer.high(0) * 2 ** 32 + buffer.low(0), frame);
    this.#bytes.fill(0, WRITTEN_BACK);
    length.set(0, frame.length);
    state.set(0, DONE | END_OF_PACKET);
    this.#bus.dmaWrite(address + WRITTEN_BACK, this.#bytes.subarray(WRITTEN_BACK));
    this.#queue.advance();
    return true;
  }
}

/** The owner of the transmit queue. */
interface Sender {
  /** Sends a packet, padded to 60 bytes. */
  send(frame: Uint8Array): void;
  /** A descriptor was reported as done. */
  written(): void;
}

export class TransmitQueue {
  readonly #bus: DeviceBus;
  readonly #plain: Uint32Array;
  readonly #packetTime: number;
  readonly #sender: Sender;
  readonly #queue: Queue;
  readonly #bytes = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #descriptor = TransmitDescriptor.over(this.#bytes);
  /** The pieces of a packet whose last descriptor has not come yet. */
  #pieces: Uint8Array[] = [];
  #busy = false;
  /** The number of resets. Work that was begun before a reset does not continue after it. */
  #epoch = 0;

  constructor(bus: DeviceBus, plain: Uint32Array, packetTime: number, sender: Sender) {
    this.#bus = bus;
    this.#plain = plain;
    this.#packetTime = packetTime;
    this.#sender = sender;
    this.#queue = new Queue(plain, {
      low: REGISTER.transmitBaseLow,
      high: REGISTER.transmitBaseHigh,
      bytes: REGISTER.transmitBytes,
      head: REGISTER.transmitHead,
      tail: REGISTER.transmitTail,
    });
  }

  reset(): void {
    this.#pieces = [];
    this.#busy = false;
    this.#epoch++;
  }

  /** The tail has moved, or the transmitter was turned on. */
  kick(): void {
    if (this.#busy) return;
    if (this.#packetTime === 0) while (this.#ready) this.#step();
    else this.#schedule();
  }

  get #ready(): boolean {
    return (this.#plain[REGISTER.transmitControl / 4]! & TRANSMIT_CONTROL.enable) !== 0 && !this.#queue.empty;
  }

  #schedule(): void {
    this.#busy = this.#ready;
    if (!this.#busy) return;
    const epoch = this.#epoch;
    this.#bus.after(this.#packetTime, () => {
      if (epoch !== this.#epoch) return;
      if (this.#ready) this.#step();
      this.#schedule();
    });
  }

  /** Processes one descriptor. */
  #step(): void {
    const { address } = this.#queue;
    this.#bus.dmaRead(address, this.#bytes);
    const { address: buffer, command, state } = this.#descriptor;
    const commands = command.get(0);
    const piece = new Uint8Array(commands & 0xffff);
    this.#bus.dmaRead(buffer.high(0) * 2 ** 32 + buffer.low(0), piece);
    this.#pieces.push(piece);
    if (commands & COMMAND.endOfPacket) {
      const frame = Buffer.concat(this.#pieces);
      this.#pieces = [];
      this.#sender.send(this.#pad(frame));
    }
    this.#queue.advance();
    if ((commands & COMMAND.reportStatus) === 0) return;
    state.set(0, state.get(0) | DONE);
    this.#bus.dmaWrite(address + STATE_OFFSET, this.#bytes.subarray(STATE_OFFSET));
    this.#sender.written();
  }

  #pad(frame: Uint8Array): Uint8Array {
    const control = this.#plain[REGISTER.transmitControl / 4]!;
    if (frame.length >= SHORTEST || (control & TRANSMIT_CONTROL.padShort) === 0) return frame;
    const padded = new Uint8Array(SHORTEST);
    padded.set(frame);
    return padded;
  }
}
