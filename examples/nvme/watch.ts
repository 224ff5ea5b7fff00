/**
 * What takes too long (nvme_timeout of the kernel's driver): first the queue is looked at, for the interrupt may have
 * been lost; then the command is aborted; and when even that does not end it, the controller is reset.
 *
 * No timer is set for a command: a clock turns a few times in the time that a command may take, and ages all of them.
 */
import { DmaError, type PciFunction } from '../../lib/index.ts';
import type { CommandQueue } from './command-queue.ts';

/** Turns of the clock in the time that a command may take. */
const TURNS = 4;
/** Turns after which it has taken that long for certain: the first may have been almost over when it was submitted. */
const TOO_OLD = TURNS + 1;

export interface Watched {
  readonly fn: PciFunction;
  /** Those that are watched now. */
  queues(): readonly CommandQueue[];
  /** Whether an Abort would be sent at once. */
  mayAbort(): boolean;
  /** Whether the command was, or will be, aborted. */
  abort(queue: number, command: number): Promise<boolean>;
  /** End everything, and start anew. */
  recover(error: DmaError): void;
}

export class Watch {
  /** Commands that were found complete without their interrupt. */
  lostInterrupts = 0;
  /** Commands that were aborted. */
  aborts = 0;
  readonly #controller: Watched;
  readonly #timeout: number;
  readonly #timer: NodeJS.Timeout;

  /** @param timeout milliseconds a command may take */
  constructor(controller: Watched, timeout: number) {
    this.#controller = controller;
    this.#timeout = timeout;
    this.#timer = setInterval(() => this.#turn(), timeout / TURNS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #turn(): void {
    const { fn } = this.#controller;
    if (fn.closed) this.#controller.recover(closed(fn));
    const queues = this.#controller.queues();
    for (const { pair } of queues) pair.age();
    const late = queues.filter(({ pair }) => pair.findOlderThan(TOO_OLD) >= 0);
    // One that resets the controller ends what the others have.
    for (const queue of late) if (this.#expire(queue)) return;
  }

  /** Returns whether it came to a reset. */
  #expire(queue: CommandQueue): boolean {
    const { pair } = queue;
    const found = queue.poll();
    if (queue.interrupt !== undefined) this.lostInterrupts += found;
    // What the look has found may be that the controller has to be reset.
    if (!this.#controller.queues().includes(queue)) return true;
    const id = pair.findOlderThan(TOO_OLD);
    if (id < 0) return false;
    const { fn } = this.#controller;
    const what = `${fn.address}: command ${id} of queue ${pair.id} took longer than ${this.#timeout} ms`;
    const late = new DmaError('ETIMEDOUT', what, { remedy: 'issue it again, or check the device' });
    if (!pair.expire(id, late) || pair.id === 0) {
      this.#controller.recover(late);
      return true;
    }
    // One that waited would be sent after a reset, and end whatever has the identifier by then.
    if (!this.#controller.mayAbort()) return false;
    this.aborts++;
    // What the abort did shows in the command itself, or in nothing: then there is the reset.
    this.#controller.abort(pair.id, id).catch(() => {});
    return false;
  }
}

/** The error when the program closed the function and not the driver. */
function closed(fn: PciFunction): DmaError {
  return new DmaError('ENODEV', `${fn.address} was closed`, { remedy: 'close the controller instead' });
}
