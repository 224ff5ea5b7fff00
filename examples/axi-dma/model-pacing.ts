/**
 * Decides which packets interrupt: one of every IRQThreshold, or the last if none has come for IRQDelay (PG021,
 * "Interrupt").
 */

/** Microseconds of 125 clocks of 100 MHz, the unit of IRQDelay. */
const DELAY_UNIT = 1.25;

export class InterruptPacing {
  readonly #after: (microseconds: number, action: () => void) => void;
  #threshold = 1;
  #left = 1;
  #packets = 0;

  constructor(after: (microseconds: number, action: () => void) => void) {
    this.#after = after;
  }

  /** The number of packets until the next interrupt (IRQThresholdSts). */
  get left(): number {
    return this.#left;
  }

  /** Counting starts again. */
  set threshold(packets: number) {
    this.#threshold = this.#left = packets;
  }

  /**
   * A packet has ended.
   * @param delay units until `late` is called, unless another packet ends before; 0: never
   * @returns true if it interrupts
   */
  packet(delay: number, late: () => void): boolean {
    const packets = ++this.#packets;
    if (--this.#left === 0) {
      this.#left = this.#threshold;
      return true;
    }
    if (delay > 0) {
      this.#after(delay * DELAY_UNIT, () => {
        if (packets !== this.#packets) return;
        this.#left = this.#threshold;
        late();
      });
    }
    return false;
  }
}
