/**
 * Detects a wait for an interrupt that no device will send in the present state, because nothing is scheduled in the
 * simulation. The wait may still be right, because a test can make the device act later. So this is a process warning
 * and not an error.
 */

/** Milliseconds of real time that a wait lasts before the warning. */
const PATIENCE = 1000;

/** Finds a driver that waits while no action is scheduled that could end its wait. */
export class Silence {
  readonly #name: string;
  readonly #scheduled: () => number;
  readonly #waiting = new Map<string, NodeJS.Timeout>();

  /**
   * @param name the name of the function
   * @param scheduled returns the number of actions that are scheduled on its device
   */
  constructor(name: string, scheduled: () => number) {
    this.#name = name;
    this.#scheduled = scheduled;
  }

  /** The reason why no interrupt comes; undefined if one may come. */
  get reason(): string | undefined {
    return this.#scheduled() === 0 ? 'nothing is scheduled in the simulation' : undefined;
  }

  /** @param vector e.g. `MSI-X vector 1` */
  setWaiting(vector: string, waiting: boolean): void {
    clearTimeout(this.#waiting.get(vector));
    this.#waiting.delete(vector);
    if (waiting) this.#waiting.set(vector, setTimeout(() => this.#tell(vector), PATIENCE).unref());
  }

  close(): void {
    for (const vector of [...this.#waiting.keys()]) this.setWaiting(vector, false);
  }

  #tell(vector: string): void {
    this.setWaiting(vector, false);
    if (this.reason === undefined || process.env.USERDMA_DEBUG === 'quiet') return;
    process.emitWarning(`${this.#name}: nothing is scheduled, and the driver waits for ${vector}`, {
      type: 'SimulationWarning',
      detail: 'Check that the driver has started the device. wait({ timeout }) ends a wait by itself.',
    });
  }
}
