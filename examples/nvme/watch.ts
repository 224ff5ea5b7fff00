/**
 * Watches for commands that take too long (nvme_timeout of the kernel's driver). First the queue is polled, because
 * the interrupt may be lost. Then the command is aborted. If that does not end it, the controller is reset.
 *
 * A command has no timer of its own. One clock turns a few times in the time that a command may take, and ages all
 * commands.
 */
import { DmaError, type PciFunction } from '../../lib/index.ts';
import type { CommandQueue } from './command-queue.ts';

/** The turns of the clock in the time that a command may take. */
const TURNS = 4;
/**
 * The turns after which a command has certainly taken that long. The first turn may have been almost over when it was
 * submitted.
 */
const TOO_OLD = TURNS + 1;

export interface Watched {
  readonly fn: PciFunction;
  /** The queues that are watched now. */
  queues(): readonly CommandQueue[];
  /** True if an Abort would be sent at once. */
  mayAbort(): boolean;
  /** Resolves with true if the command was aborted, or will be. */
  abort(queue: number, command: number): Promise<boolean>;
  /** Ends all commands, and starts the controller again. */
  recover(error: DmaError): void;
}

export class Watch {
  /** The number of commands that were found complete without their interrupt. */
  lostInterrupts = 0;
  /** The number of commands that were aborted. */
  aborts = 0;
  readonly #controller: Watched;
  readonly #timeout: number;
  readonly #timer: NodeJS.Timeout;

  /** @param timeout milliseconds that a command may take */
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
    // If one of them resets the controller, the commands of the others end, too.
    for (const queue of late) if (this.#expire(queue)) return;
  }

  /** Returns true if it led to a reset. */
  #expire(queue: CommandQueue): boolean {
    const { pair } = queue;
    const found = queue.poll();
    if (queue.interrupt !== undefined) this.lostInterrupts += found;
    // The poll may have found out that the controller must be reset.
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
    // An abort that waits would be sent after a reset, and end the command that has the identifier by then.
    if (!this.#controller.mayAbort()) return false;
    this.aborts++;
    // The abort ends the command, or nothing happens: then the reset follows.
    this.#controller.abort(pair.id, id).catch(() => {});
    return false;
  }
}

/** The error if the program closed the function instead of the driver. */
function closed(fn: PciFunction): DmaError {
  return new DmaError('ENODEV', `${fn.address} was closed`, { remedy: 'close the controller instead' });
}
