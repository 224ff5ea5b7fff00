/** One engine of the model: fetches descriptors and executes them, one after the other. */
import type { DeviceBus } from '../../lib/sim/index.ts';
import type { Way } from './engine.ts';
import {
  CHANNEL,
  CONTROL,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_FLAG,
  DESCRIPTOR_MAGIC,
  DESCRIPTOR_PAGE,
  DESCRIPTORS,
  ERROR_BIT,
  IDENTIFIER,
  POLL,
  STATUS,
} from './registers.ts';

/** The card as an engine sees it. */
export interface Card {
  readonly bus: DeviceBus;
  /** Memory on the AXI bus, from address 0 on. */
  readonly memory: Uint8Array;
  /** Simulated microseconds of a descriptor. */
  readonly time: number;
  readonly addressAlignment: number;
  readonly lengthAlignment: number;
  readonly addressBits: number;
  /** The status of a channel, or what it interrupts for, has changed. */
  update(): void;
}

const VERSION = 0x06;

export class ModelEngine {
  readonly #card: Card;
  readonly #way: Way;
  readonly #index: number;
  #control = 0;
  #status = 0;
  #enabled = 0;
  #completed = 0;
  #poll = [0, 0];
  #first = [0, 0];
  #adjacent = 0;
  /** Address of the next descriptor, in halves. */
  #next: readonly [low: number, high: number] = [0, 0];
  /** How often it was started or reset: what was planned before is forgotten. */
  #life = 0;
  /** The descriptor it is at, for reports. */
  #at = 0;

  constructor(card: Card, way: Way, index: number) {
    this.#card = card;
    this.#way = way;
    this.#index = index;
  }

  /** Whether it asks for its interrupt. */
  get asks(): boolean {
    return (this.#status & this.#enabled) !== 0;
  }

  get activity(): string | undefined {
    if ((this.#status & STATUS.busy) === 0) return undefined;
    return `${this.#way}${this.#index}, descriptor ${this.#at}`;
  }

  reset(): void {
    this.#life++;
    this.#control = 0;
    this.#status = 0;
    this.#enabled = 0;
    this.#completed = 0;
    this.#poll = [0, 0];
    this.#first = [0, 0];
    this.#adjacent = 0;
  }

  /** A register of the channel. */
  read(register: number): number {
    switch (register) {
      case CHANNEL.identifier:
        return ((IDENTIFIER[this.#way] << 16) | (this.#index << 8) | VERSION) >>> 0;
      case CHANNEL.control:
        return this.#control;
      case CHANNEL.status:
        return this.#status;
      case CHANNEL.statusReadClear: {
        const status = this.#status;
        this.#status &= STATUS.busy;
        this.#card.update();
        return status;
      }
      case CHANNEL.completedDescriptors:
        return this.#completed;
      case CHANNEL.alignments: {
        const { addressAlignment, lengthAlignment, addressBits } = this.#card;
        return (addressAlignment << 16) | (lengthAlignment << 8) | addressBits;
      }
      case CHANNEL.pollLow:
        return this.#poll[0]!;
      case CHANNEL.pollHigh:
        return this.#poll[1]!;
      case CHANNEL.interruptEnable:
        return this.#enabled;
      default:
        return 0;
    }
  }

  write(register: number, value: number): void {
    switch (register) {
      case CHANNEL.control:
        this.#setControl(value);
        return;
      case CHANNEL.controlSet:
        this.#setControl((this.#control | value) >>> 0);
        return;
      case CHANNEL.controlClear:
        this.#setControl((this.#control & ~value) >>> 0);
        return;
      case CHANNEL.status:
        // Written ones clear; busy is the engine's.
        this.#status &= ~(value & ~STATUS.busy);
        break;
      case CHANNEL.pollLow:
        this.#poll[0] = value;
        return;
      case CHANNEL.pollHigh:
        this.#poll[1] = value;
        return;
      case CHANNEL.interruptEnable:
        this.#enabled = value;
        break;
      case CHANNEL.interruptEnableSet:
        this.#enabled |= value;
        break;
      case CHANNEL.interruptEnableClear:
        this.#enabled &= ~value;
        break;
    }
    this.#card.update();
  }

  /** A register of its descriptors. */
  readDescriptors(register: number): number {
    if (register === DESCRIPTORS.low) return this.#first[0]!;
    if (register === DESCRIPTORS.high) return this.#first[1]!;
    return register === DESCRIPTORS.adjacent ? this.#adjacent : 0;
  }

  writeDescriptors(register: number, value: number): void {
    if (register === DESCRIPTORS.low) this.#first[0] = value;
    else if (register === DESCRIPTORS.high) this.#first[1] = value;
    else if (register === DESCRIPTORS.adjacent) this.#adjacent = value & 0x3f;
  }

  #setControl(value: number): void {
    const started = (value & ~this.#control & CONTROL.run) !== 0;
    this.#control = value;
    if (!started) return;
    this.#status = STATUS.busy;
    this.#completed = 0;
    this.#at = 0;
    this.#next = [this.#first[0]!, this.#first[1]!];
    if ((this.#first[0]! % DESCRIPTOR_PAGE) + (this.#adjacent + 1) * DESCRIPTOR_BYTES > DESCRIPTOR_PAGE) {
      const address = BigInt(this.#first[1]!) * 2n ** 32n + BigInt(this.#first[0]!);
      const size = (this.#adjacent + 1) * DESCRIPTOR_BYTES;
      this.#card.bus.report(address, size, 'read', 'adjacent descriptors cross a page of 4 KiB');
    }
    this.#plan();
  }

  #plan(): void {
    const life = ++this.#life;
    this.#card.bus.after(this.#card.time, () => {
      if (life === this.#life) this.#step();
    });
  }

  /** One descriptor. */
  #step(): void {
    const end = (this.#control & CONTROL.run) === 0 ? STATUS.idleStopped : this.#execute();
    if (end !== 0) this.#stop(end);
    else this.#plan();
  }

  /** The next descriptor. @returns why the engine stops, as the status has it; 0: it goes on */
  #execute(): number {
    const bytes = new Uint8Array(DESCRIPTOR_BYTES);
    const [low, high] = this.#next;
    if (low % DESCRIPTOR_BYTES !== 0) return STATUS.alignMismatch;
    if (!this.#card.bus.dmaRead(low, bytes, high)) return ERROR_BIT.descriptorReadRefused;
    const words = new DataView(bytes.buffer);
    const control = words.getUint32(0, true);
    if (control >>> 16 !== DESCRIPTOR_MAGIC) return STATUS.magicStopped;
    const error = this.#move(words);
    if (error !== 0) return error;
    this.#completed++;
    this.#at++;
    if ((control & DESCRIPTOR_FLAG.completed) !== 0) {
      this.#note(STATUS.descriptorCompleted);
      this.#writePoll(this.#completed & POLL.count);
    }
    this.#next = [words.getUint32(0x18, true), words.getUint32(0x1c, true)];
    this.#card.update();
    return (control & DESCRIPTOR_FLAG.stop) === 0 ? 0 : STATUS.descriptorStopped;
  }

  /** The bytes of a descriptor. @returns the error, as the status has it */
  #move(words: DataView): number {
    const { memory, bus, addressAlignment, lengthAlignment } = this.#card;
    const length = words.getUint32(0x04, true) & 0x0fff_ffff;
    const toCard = this.#way === 'h2c';
    const [hostAt, cardAt] = toCard ? [0x08, 0x10] : [0x10, 0x08];
    const host = [words.getUint32(hostAt, true), words.getUint32(hostAt + 4, true)] as const;
    const card = words.getUint32(cardAt + 4, true) * 2 ** 32 + words.getUint32(cardAt, true);
    if (length === 0) return STATUS.invalidLength;
    const misaligned = host[0] % addressAlignment || card % addressAlignment || length % lengthAlignment;
    if (misaligned) return STATUS.alignMismatch;
    const outside = card + length > memory.length;
    if (!toCard) {
      if (outside) return ERROR_BIT.cardReadRefused;
      // A write to memory is posted: the card does not hear whether it arrives.
      bus.dmaWrite(host[0], memory.subarray(card, card + length), host[1]);
      return 0;
    }
    const bytes = new Uint8Array(length);
    if (!bus.dmaRead(host[0], bytes, host[1])) return ERROR_BIT.hostReadRefused;
    if (outside) return ERROR_BIT.cardWriteRefused;
    memory.set(bytes, card);
    return 0;
  }

  /** The engine is idle from here on. */
  #stop(status: number): void {
    this.#life++;
    this.#status &= ~STATUS.busy;
    this.#note(status);
    const failed = (status & (STATUS.descriptorStopped | STATUS.idleStopped)) === 0;
    if (failed) this.#writePoll((POLL.error | (this.#completed & POLL.count)) >>> 0);
    this.#card.update();
  }

  /** What the driver wants noted in the status. */
  #note(status: number): void {
    this.#status |= status & this.#control;
  }

  #writePoll(value: number): void {
    if ((this.#control & CONTROL.pollWriteback) === 0) return;
    const word = new Uint8Array(4);
    new DataView(word.buffer).setUint32(0, value, true);
    this.#card.bus.dmaWrite(this.#poll[0]!, word, this.#poll[1]!);
  }
}
