/**
 * The presence of a function's device, and what the library tells its driver while the device goes:
 *
 *      release request --- listeners settle, or the grace time is over, or there is none ---+
 *      a register that reads all ones, a configuration access without an answer ------------+---> gone
 *      a simulated device that is pulled out -----------------------------------------------+
 *
 * A function that is gone stays gone: when the device is back, the driver opens it again.
 */
import { setMaxListeners } from 'node:events';
import { argumentError } from '../arguments.ts';
import type { DmaDevice } from '../dma/device.ts';
import { DmaError, throwUncaught } from '../errors.ts';
import { answers } from './config-space.ts';
import { Listeners } from './listeners.ts';
import type { PciTransport } from './transport.ts';

/** Milliseconds. The kernel asks again after ten seconds, and the removal of the device waits. */
const DEFAULT_GRACE = 2000;

/** Knows if the device of a function is there, and passes on the requests to release it. */
export class Presence {
  readonly #transport: PciTransport;
  readonly #grace: number;
  readonly #gone = new AbortController();
  readonly #errorListeners = new Listeners<() => void>();
  readonly #releaseListeners = new Listeners<() => unknown>();
  #releasing = false;

  /**
   * @param grace milliseconds
   * @param wasReset called when a hot reset of another function hit this one
   */
  constructor(
    transport: PciTransport,
    dma: DmaDevice,
    grace = DEFAULT_GRACE,
    wasReset: (functions: readonly string[]) => void,
  ) {
    this.#transport = transport;
    this.#grace = grace;
    // Drivers listen to this signal in many places. By default Node warns of a leak when there are more than ten
    // listeners.
    setMaxListeners(0, this.gone);
    transport.watch({
      error: () => this.#errorListeners.tell(),
      releaseRequest: () => void this.#release(),
      reset: wasReset,
      gone: (error) => {
        dma.abandon(error);
        this.#gone.abort(error);
      },
    });
  }

  /** Aborts with the DmaError ENODEV that every call throws from then on. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  onError(listener: () => void): () => void {
    return this.#errorListeners.add(listener);
  }

  onReleaseRequest(listener: () => unknown): () => void {
    return this.#releaseListeners.add(listener);
  }

  /**
   * Ask the device. If it does not answer, the function is gone.
   * @throws DmaError as an access of configuration space
   */
  check(): boolean {
    const { signal } = this.#gone;
    if (signal.aborted) return false;
    try {
      if (!answers(this.#transport.config)) this.#transport.leave();
    } catch (error) {
      // The kernel may know already that the device is gone, and report it.
      if (!signal.aborted && !isAbsence(error)) throw error;
      this.#transport.leave();
    }
    return !signal.aborted;
  }

  /** Remove all listeners. */
  close(): void {
    this.#errorListeners.clear();
    this.#releaseListeners.clear();
  }

  async #release(): Promise<void> {
    if (this.#releasing) return;
    this.#releasing = true;
    const told = [...this.#releaseListeners].map(async (listener) => listener());
    if (told.length > 0) {
      let timer: NodeJS.Timeout | undefined;
      const grace = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, this.#grace).unref();
      });
      for (const one of told) one.catch(throwUnlessGone);
      await Promise.race([Promise.allSettled(told), grace]);
      clearTimeout(timer);
    }
    this.#transport.leave();
  }
}

/**
 * A listener that is still running when its time is over, or when the function is closed, fails with ENODEV. It
 * cannot avoid that.
 */
function throwUnlessGone(error: unknown): void {
  if (!isAbsence(error)) throwUncaught(error);
}

function isAbsence(error: unknown): boolean {
  return error instanceof DmaError && error.code === 'ENODEV';
}

/** Milliseconds that a timer can wait. */
export function checkGrace(grace: unknown, what: string): void {
  if (typeof grace === 'number' && grace >= 0 && grace < 2 ** 31) return;
  throw argumentError(what, grace, 'pass milliseconds, from 0 to 2147483647');
}
