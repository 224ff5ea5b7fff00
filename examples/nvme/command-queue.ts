/**
 * A queue pair whose commands are promises. A command that finds no room waits for its turn. One doorbell announces
 * all commands that are submitted in one turn of the event loop. An interrupt announces completions. Without one, the
 * queue is polled at each turn as long as a command is under way.
 */
import { DmaError, type Interrupt } from '../../lib/index.ts';
import type { Command } from './commands.ts';
import type { Lent } from './memory.ts';
import type { Completion, QueuePair } from './queue-pair.ts';
import { NvmeError } from './status.ts';

/** A command that wants a place in a queue. It can be abandoned before and after it was submitted. */
export interface Submission extends Completion {
  /**
   * Put the command into the pair, which has room. Errors before that are reported to the command's own caller.
   * Returns false if there is no memory for it now: `again` is called when there may be some.
   */
  submit(pair: QueuePair, again: () => void): boolean;
}

class PromisedCommand implements Submission {
  #late: DmaError | undefined;
  readonly #command: Command;
  readonly #what: string;
  readonly #lent: Lent | undefined;
  readonly #resolve: (result: number) => void;
  readonly #reject: (error: DmaError) => void;

  constructor(
    command: Command,
    what: string,
    lent: Lent | undefined,
    resolve: (result: number) => void,
    reject: (error: DmaError) => void,
  ) {
    this.#command = command;
    this.#what = what;
    this.#lent = lent;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  submit(pair: QueuePair): boolean {
    pair.submit(
      this.#lent === undefined ? this.#command : { ...this.#command, data: this.#lent.pointer },
      this,
    );
    return true;
  }

  complete(status: number, result: number): void {
    this.#lent?.release();
    if (status === 0) this.#resolve(result);
    else this.#reject(this.#late ?? new NvmeError(status, this.#what));
  }

  abandon(error: DmaError): void {
    this.#lent?.release();
    this.#reject(this.#late ?? error);
  }

  expire(error: DmaError): void {
    this.#late = error;
  }
}

/** A queue pair with promises. */
export class CommandQueue {
  readonly pair: QueuePair;
  /** Undefined: the queue is polled. */
  readonly interrupt: Interrupt | undefined;

  readonly #fail: (error: DmaError) => void;
  readonly #unlisten: () => void;
  readonly #waiting: Submission[] = [];
  #paused = true;
  /** Why the queue takes no commands any more. */
  #error: DmaError | undefined;
  #ringing = false;
  #looking = false;
  readonly #again = (): void => this.#admit();
  readonly #look = (): void => {
    this.#looking = false;
    this.poll();
    if (this.pair.busy > 0) this.#keepLooking();
  };

  /**
   * @param interrupt an armed interrupt; several queues may share one
   * @param fail called when the controller cannot be trusted any more: its registers do not answer, or it completed a
   *   command that was not submitted
   */
  constructor(pair: QueuePair, interrupt: Interrupt | undefined, fail: (error: DmaError) => void) {
    this.pair = pair;
    this.interrupt = interrupt;
    this.#fail = fail;
    pair.pause();
    this.#unlisten = interrupt?.listen(() => this.poll()) ?? (() => {});
  }

  /** Submissions that wait for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Submits the command now, or when it is its turn. */
  enqueue(submission: Submission): void {
    if (this.#error !== undefined) {
      submission.abandon(this.#error);
      return;
    }
    const mayEnter = !this.#paused && this.#waiting.length === 0 && this.pair.room > 0;
    if (mayEnter && this.#submit(submission)) return;
    this.#waiting.push(submission);
    // The commands that fill the queue may belong to the user of the pair, and not to this queue.
    this.#keepLooking();
  }

  /**
   * Executes a command. Resolves with dword 0 of its completion.
   * @param lent its memory, which is unmapped when the command ends, before the promise settles
   * @throws NvmeError the controller completed it with an error · DmaError ETIMEDOUT · ECANCELED reset · ENODEV
   *   closed, gone
   */
  execute(command: Command, what: string, lent?: Lent): Promise<number> {
    return new Promise((resolve, reject) => {
      this.enqueue(new PromisedCommand(command, what, lent, resolve, reject));
    });
  }

  /**
   * Takes the completions, submits waiting commands, and announces all new commands to the controller.
   * @returns the number of completed commands
   */
  poll(): number {
    if (this.#paused) return 0;
    try {
      const count = this.pair.poll();
      this.pair.ring();
      if (this.#waiting.length > 0) this.#admit();
      return count;
    } catch (error) {
      this.#broken(error);
      return 0;
    }
  }

  /** The controller is being reset or closed: no command is submitted, and no completion is taken, until `resume`. */
  pause(): void {
    this.#paused = true;
    this.pair.pause();
  }

  /** The controller was started again: commands are taken from here on. */
  resume(): void {
    this.#paused = false;
    this.pair.resume();
    this.#admit();
  }

  /** Takes no commands any more. Those that wait end with `error`, and so do new ones. Those under way continue. */
  refuse(error: DmaError): void {
    this.#error ??= error;
    for (const submission of this.#waiting.splice(0)) submission.abandon(error);
  }

  /** The controller does nothing any more: all commands end with `error`. */
  abandon(error: DmaError): void {
    this.pause();
    this.pair.abandon(error);
    this.refuse(error);
  }

  /** The interrupt stays armed, because other queues may share it. */
  close(): void {
    this.pause();
    this.#unlisten();
    this.pair.free();
  }

  #admit(): void {
    while (!this.#paused && this.#waiting.length > 0 && this.pair.room > 0) {
      if (!this.#submit(this.#waiting[0]!)) return;
      this.#waiting.shift();
    }
  }

  #submit(submission: Submission): boolean {
    if (!submission.submit(this.pair, this.#again)) return false;
    if (!this.#ringing) {
      this.#ringing = true;
      queueMicrotask(() => this.#ring());
    }
    this.#keepLooking();
    return true;
  }

  #ring(): void {
    this.#ringing = false;
    if (this.#paused) return;
    try {
      this.pair.ring();
    } catch (error) {
      this.#broken(error);
    }
  }

  /** Polls at each turn of the event loop, as long as a command is under way for which no interrupt comes. */
  #keepLooking(): void {
    if (this.interrupt !== undefined || this.#looking) return;
    this.#looking = true;
    setImmediate(this.#look);
  }

  /** A mistake in this program is not an error of the device. */
  #broken(error: unknown): void {
    if (!(error instanceof DmaError)) throw error;
    this.#fail(error);
  }
}
