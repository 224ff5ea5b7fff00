/**
 * A queue pair whose commands are promises. What finds no room waits its turn; what is submitted in one turn of the
 * event loop is told by one doorbell; completions are noticed by interrupt, or by looking at each turn while some are
 * awaited.
 */
import { DmaError, type Interrupt } from '../../lib/index.ts';
import type { Command } from './commands.ts';
import type { Lent } from './memory.ts';
import type { Completion, QueuePair } from './queue-pair.ts';
import { NvmeError } from './status.ts';

/** Something that wants a place in a queue. One that was not submitted yet is abandoned like one that was. */
export interface Submission extends Completion {
  /**
   * Put it into the pair, which has room; what goes wrong before that is its own to report. Returns false when there is
   * no memory for it now: `again` is called when there may be.
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

export class CommandQueue {
  readonly pair: QueuePair;
  /** Undefined: it is polled. */
  readonly interrupt: Interrupt | undefined;

  readonly #fail: (error: DmaError) => void;
  readonly #unlisten: () => void;
  readonly #waiting: Submission[] = [];
  #paused = true;
  /** Why nothing is taken any more. */
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
   * @param interrupt armed; several queues may share one
   * @param fail told when the controller cannot be trusted any more: its registers do not answer, or it completed a
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

  /** Submit it now, or when it is its turn. */
  enqueue(submission: Submission): void {
    if (this.#error !== undefined) {
      submission.abandon(this.#error);
      return;
    }
    const mayEnter = !this.#paused && this.#waiting.length === 0 && this.pair.room > 0;
    if (mayEnter && this.#submit(submission)) return;
    this.#waiting.push(submission);
    // What has the room may be nothing of this queue's, but of the pair's user.
    this.#keepLooking();
  }

  /**
   * Do a command. Resolves with dword 0 of its completion.
   * @param lent its memory, which is taken back when the command ends, before the promise tells
   * @throws NvmeError the controller completed it with an error · DmaError ETIMEDOUT · ECANCELED reset · ENODEV closed,
   *   gone
   */
  execute(command: Command, what: string, lent?: Lent): Promise<number> {
    return new Promise((resolve, reject) => {
      this.enqueue(new PromisedCommand(command, what, lent, resolve, reject));
    });
  }

  /**
   * Take what was completed, let those in that wait, and tell the controller of what was submitted meanwhile.
   * @returns commands that were completed
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

  /** Nothing is submitted, and no completion taken, until `resume`: the controller is being reset, or closed. */
  pause(): void {
    this.#paused = true;
    this.pair.pause();
  }

  resume(): void {
    this.#paused = false;
    this.pair.resume();
    this.#admit();
  }

  /** Take nothing any more: what waits ends with `error`, and so does whatever comes. What is under way goes on. */
  refuse(error: DmaError): void {
    this.#error ??= error;
    for (const submission of this.#waiting.splice(0)) submission.abandon(error);
  }

  /** Everything ends with `error`: the controller does nothing any more. */
  abandon(error: DmaError): void {
    this.pause();
    this.pair.abandon(error);
    this.refuse(error);
  }

  /** The interrupt stays armed: others may share it. */
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

  /** Looks at each turn of the event loop, while a command is awaited for which no interrupt comes. */
  #keepLooking(): void {
    if (this.interrupt !== undefined || this.#looking) return;
    this.#looking = true;
    setImmediate(this.#look);
  }

  /** A mistake in this program is not the device's. */
  #broken(error: unknown): void {
    if (!(error instanceof DmaError)) throw error;
    this.#fail(error);
  }
}
