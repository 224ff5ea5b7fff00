/**
 * Kills a process that does not answer, so that a blocking read of its pipe ends. The main thread is inside that read
 * and can do nothing. So a worker watches a word of shared memory:
 *
 *      0    no request is under way
 *      n    request n is under way; if the worker sees the same n for longer than the limit, it kills the process
 *
 * A request costs one atomic store at its start and one at its end.
 */
import { Worker } from 'node:worker_threads';

/** The number of the worker's checks within the limit. */
const LOOKS = 4;

const WATCH = `
const { workerData: { words, pid, limit, looks } } = require('node:worker_threads');
const state = new Int32Array(words);
let seen = 0, since = 0;
for (;;) {
  Atomics.wait(state, 1, 0, limit / looks);
  if (Atomics.load(state, 1) !== 0) break;
  const now = Atomics.load(state, 0);
  if (now === 0 || now !== seen) { seen = now; since = Date.now(); continue; }
  if (Date.now() - since < limit) continue;
  Atomics.store(state, 2, 1);
  try { process.kill(pid, 'SIGKILL'); } catch {}
  break;
}`;

/** Watches one process, and kills it if it does not answer. */
export class Watchdog {
  readonly #state = new Int32Array(new SharedArrayBuffer(12));
  #request = 0;

  /** @param limit milliseconds that a request may take */
  constructor(pid: number, limit: number) {
    const workerData = { words: this.#state.buffer, pid, limit, looks: LOOKS };
    const worker = new Worker(WATCH, { eval: true, workerData });
    worker.unref();
  }

  begin(): void {
    this.#request = (this.#request % 0x3fff_ffff) + 1;
    Atomics.store(this.#state, 0, this.#request);
  }

  end(): void {
    Atomics.store(this.#state, 0, 0);
  }

  /** True if it killed the process. */
  get struck(): boolean {
    return Atomics.load(this.#state, 2) !== 0;
  }

  /** The process has ended. */
  stop(): void {
    Atomics.store(this.#state, 1, 1);
    Atomics.notify(this.#state, 1);
  }
}
