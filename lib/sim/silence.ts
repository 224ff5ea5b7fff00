/**
 * A wait for an interrupt that no device will send, as things stand: nothing is scheduled in the simulation. It may
 * still be right, since a test can make the device do something later, so that it is a warning of the process and no
 * error.
 */
import process from 'node:process';

/** Milliseconds of real time that a wait lasts before anything is said. */
const PATIENCE = 1000;

/** Finds a driver that polls while nothing is scheduled that could end its wait. */
export class Silence {
  readonly #name: string;
  readonly #scheduled: () => number;
  readonly #waiting = new Map<string, NodeJS.Timeout>();

  /** @param name of the function @param scheduled actions that are scheduled on its device */
  constructor(name: string, scheduled: () => number) {
    this.#name = name;
    this.#scheduled = scheduled;
  }

  /** Why no interrupt comes; undefined when one may. */
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
