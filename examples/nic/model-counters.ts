/** The statistics of the model. Reading a counter clears it; for one of 64 bits, reading the upper half does. */
import { COUNTER } from './registers.ts';

const CRC = 4;
const WIDE: readonly number[] = [COUNTER.octetsReceived, COUNTER.octetsSent];
const NARROW: readonly number[] = Object.values(COUNTER).filter((offset) => !WIDE.includes(offset));

export class ModelCounters {
  readonly #values = new Map<number, number>();

  reset(): void {
    this.#values.clear();
  }

  /** A packet of so many bytes, without CRC, was received. */
  received(length: number): void {
    this.#add(COUNTER.packetsReceived, 1);
    this.#add(COUNTER.octetsReceived, length + CRC);
  }

  sent(length: number): void {
    this.#add(COUNTER.packetsSent, 1);
    this.#add(COUNTER.octetsSent, length + CRC);
  }

  /** There was no descriptor for the packet, and no room in the device. */
  missed(): void {
    this.#add(COUNTER.noBuffer, 1);
    this.#add(COUNTER.missed, 1);
  }

  tooLong(): void {
    this.#add(COUNTER.tooLong, 1);
  }

  /** Undefined if it is not a counter. */
  read(offset: number): number | undefined {
    if (WIDE.includes(offset)) return this.#get(offset) >>> 0;
    if (WIDE.includes(offset - 4)) return Math.floor(this.#take(offset - 4) / 2 ** 32);
    return NARROW.includes(offset) ? this.#take(offset) : undefined;
  }

  #get(offset: number): number {
    return this.#values.get(offset) ?? 0;
  }

  #take(offset: number): number {
    const value = this.#get(offset);
    this.#values.delete(offset);
    return value;
  }

  #add(offset: number, amount: number): void {
    this.#values.set(offset, this.#get(offset) + amount);
  }
}
