/**
 * Time passes while a driver polls memory that the devices of a simulated machine write. If no action is scheduled on
 * any of them, no look will ever find a new value. The loop would never end, so the look throws an error.
 */
import { DmaError } from '../errors.ts';
import type { SimulatedClock } from './clock.ts';

/** The number of looks that take one microsecond. */
const LOOKS_PER_MICROSECOND = 16;
/** Microseconds of looks without a turn of the event loop. After that, time jumps to the next action. */
const PATIENCE = 2 ** 16;
/** Microseconds of looks after which a loop is considered hopeless, if no action is scheduled. */
const HOPELESS = 2 ** 19;

/** Lets simulated time pass when a driver polls memory. */
export class MemoryLooks {
  readonly #clocks = new Set<SimulatedClock>();
  #looks = 0;
  /** Microseconds of looks since the last turn of the event loop, capped at the largest value that matters. */
  #spent = 0;
  #turn: NodeJS.Immediate | undefined;

  /** One look. It is one function object for all memory of the machine. @throws DmaError ETIMEDOUT it is in vain */
  readonly look = (): void => {
    if (++this.#looks % LOOKS_PER_MICROSECOND === 0) this.pass();
  };

  /** A driver has opened a device that writes the memory. */
  add(clock: SimulatedClock): void {
    this.#clocks.add(clock);
  }

  delete(clock: SimulatedClock): void {
    this.#clocks.delete(clock);
  }

  /** A microsecond passes. */
  pass(): void {
    for (const clock of this.#clocks) clock.advance(1);
    this.#spent++;
    if (this.#spent % PATIENCE !== 0) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#spent = 0;
    }).unref();
    let scheduled = false;
    for (const clock of this.#clocks) if (clock.step()) scheduled = true;
    if (scheduled || this.#spent < HOPELESS) return;
    this.#spent = 0;
    throw new DmaError(
      'ETIMEDOUT',
      `memory was polled ${HOPELESS * LOOKS_PER_MICROSECOND} times in one turn of the event loop, and nothing is scheduled: no device will write it`,
      { remedy: 'check that the device was started, or let the event loop turn between two looks' },
    );
  }
}
