/** The counters of the device. Reading clears them, so this class keeps the sums. */
import type { Bar } from '../../lib/index.ts';
import { COUNTER } from './registers.ts';

/** Counts since the last reset of the device. */
export interface Statistics {
  /** Packets that were received, and their bytes with CRC. */
  readonly packetsReceived: number;
  readonly octetsReceived: number;
  readonly packetsSent: number;
  /** QEMU counts these bytes without CRC. */
  readonly octetsSent: number;
  /** Packets for which the device had no room, because the driver was too slow. QEMU does not count them. */
  readonly missed: number;
  /** Packets for which there was no descriptor. */
  readonly noBuffer: number;
  readonly crcErrors: number;
  readonly tooShort: number;
  readonly tooLong: number;
}

export class Counters {
  readonly #registers: Bar;
  readonly #sums = {
    packetsReceived: 0,
    octetsReceived: 0,
    packetsSent: 0,
    octetsSent: 0,
    missed: 0,
    noBuffer: 0,
    crcErrors: 0,
    tooShort: 0,
    tooLong: 0,
  };

  constructor(registers: Bar) {
    this.#registers = registers;
  }

  /** Drops the counts until now. */
  clear(): void {
    for (const name of NAMES) this.#take(name);
  }

  /** The sums until now. @throws DmaError ENODEV closed, or the device is gone */
  read(): Statistics {
    for (const name of NAMES) this.#sums[name] += this.#take(name);
    return { ...this.#sums };
  }

  /** Reads the lower half first, because reading the upper half clears both. */
  #take(name: keyof typeof COUNTER): number {
    const low = this.#registers.read32(COUNTER[name]);
    const wide = name === 'octetsReceived' || name === 'octetsSent';
    return wide ? low + this.#registers.read32(COUNTER[name] + 4) * 2 ** 32 : low;
  }
}

const NAMES = Object.keys(COUNTER) as (keyof typeof COUNTER)[];
