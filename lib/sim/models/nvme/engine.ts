/**
 * The way from a doorbell to a completion.
 *
 *      tail doorbell -> fetch entry by entry -> execute, at once or after a while -> write completions -> interrupt
 *                            ^                                                            |
 *                            +---- no room: nothing more is fetched until the head doorbell
 */

import type { DeviceBus } from '../../model.ts';
import type { Activity } from './activity.ts';
import { Command, ENTRY_SIZE } from './command.ts';
import { COMPLETION_SIZE, type CompletionQueue, type SubmissionQueue } from './queues.ts';
import { PENDING, STATUS } from './status.ts';

export interface EngineOptions {
  readonly bus: DeviceBus;
  readonly activity: Activity;
  /** Microseconds that an I/O command takes. With 0 it is done before the doorbell write returns. */
  readonly latency: number;
  /** Returns a status, or PENDING. */
  readonly execute: (command: Command) => number;
  /** An entry could not be read or written: the controller does nothing more until it is reset. */
  readonly fail: () => void;
}

/** Fetches commands, executes them and posts completions. */
export class Engine {
  /** Indexed by queue number; 0 is the admin queue. */
  readonly submissions: (SubmissionQueue | undefined)[] = [];
  readonly completions: (CompletionQueue | undefined)[] = [];
  /** The vectors whose line is masked: INTMS. */
  mask = 0;
  readonly #bus: DeviceBus;
  readonly #activity: Activity;
  readonly #latency: number;
  readonly #execute: (command: Command) => number;
  readonly #fail: () => void;
  /** Objects for reuse. */
  readonly #spare: Command[] = [];
  /** Queues whose doorbell was rung while another one was served. */
  readonly #rung = new Set<SubmissionQueue>();
  #serving = false;
  #failed = false;

  constructor({ bus, activity, latency, execute, fail }: EngineOptions) {
    this.#bus = bus;
    this.#activity = activity;
    this.#latency = latency;
    this.#execute = execute;
    this.#fail = fail;
  }

  /** Removes all queues, and drops all commands under way. */
  reset(): void {
    for (const queue of this.submissions) queue?.inFlight.clear();
    this.submissions.length = 0;
    this.completions.length = 0;
    this.#rung.clear();
    this.#failed = false;
    this.mask = 0;
    this.updateLine();
  }

  add(queue: SubmissionQueue): void {
    this.submissions[queue.id] = queue;
    queue.completions.submissions.add(queue);
  }

  /** Removes a queue. Its outstanding commands are aborted. */
  remove(queue: SubmissionQueue): void {
    for (const { cid } of queue.inFlight) this.complete(queue, cid, STATUS.abortedQueueDeleted, 0);
    queue.inFlight.clear();
    this.#notify(queue.completions);
    queue.completions.submissions.delete(queue);
    this.submissions[queue.id] = undefined;
  }

  /** The driver has written entries to the queue. */
  serve(queue: SubmissionQueue): void {
    if (this.#serving) {
      this.#rung.add(queue);
      return;
    }
    this.#serving = true;
    try {
      this.#drain(queue);
      for (const other of this.#rung) {
        this.#rung.delete(other);
        this.#drain(other);
      }
    } finally {
      this.#serving = false;
      this.#activity.idle();
    }
  }

  /** The driver has taken completions: there may be room for those that wait. */
  resume(queue: CompletionQueue): void {
    let posted = false;
    while (queue.waiting.length > 0 && !queue.full) {
      const { queue: from, cid, status, result } = queue.waiting.shift()!;
      this.#post(from, cid, status, result);
      posted = true;
    }
    this.#activity.idle();
    if (posted) this.#notify(queue);
    else if (queue.interrupts) this.updateLine();
    for (const submissions of queue.submissions) {
      if (!submissions.empty) this.serve(submissions);
    }
  }

  /** The command is done. The driver is told by `notify`, perhaps together with other completions of the queue. */
  complete(queue: SubmissionQueue, cid: number, status: number, result: number): void {
    const { completions } = queue;
    if (completions.waiting.length > 0 || completions.full) {
      completions.waiting.push({ queue, cid, status, result });
    } else this.#post(queue, cid, status, result);
  }

  /** As `complete`, for a command that is not being executed. */
  completeNow(queue: SubmissionQueue, cid: number, status: number, result: number): void {
    this.complete(queue, cid, status, result);
    this.#activity.idle();
    this.#notify(queue.completions);
  }

  /** The INTx line is up while a queue has a completion for the driver. Messages have no line. */
  updateLine(): void {
    if (this.#bus.messages) return;
    for (const queue of this.completions) {
      if (queue === undefined || queue.empty || !queue.interrupts) continue;
      if (((this.mask >>> queue.vector) & 1) === 0) {
        this.#bus.raise();
        return;
      }
    }
    this.#bus.lower();
  }

  #drain(queue: SubmissionQueue): void {
    const { completions } = queue;
    const before = completions.posted;
    while (!queue.empty && !this.#failed && completions.waiting.length === 0 && !completions.full) {
      const command = this.#spare.pop() ?? new Command((one) => this.#finish(one));
      command.queue = queue;
      command.entry = queue.head;
      command.result = 0;
      this.#activity.fetching(queue);
      const at = queue.head * ENTRY_SIZE;
      if (!this.#bus.dmaRead(queue.lowAt(at), command.bytes, queue.highAt(at))) {
        this.#giveUp();
        return;
      }
      queue.advance();
      if (this.#latency === 0 || queue.id === 0) this.#run(command);
      else {
        queue.inFlight.add(command);
        this.#bus.after(this.#latency, command.run);
      }
    }
    if (completions.posted !== before) this.#notify(completions);
  }

  /** The time of the command has come, unless it was aborted. */
  #finish(command: Command): void {
    const { queue } = command;
    if (!queue.inFlight.delete(command)) {
      this.#spare.push(command);
      return;
    }
    this.#serving = true;
    try {
      this.#run(command);
    } finally {
      this.#serving = false;
      this.#activity.idle();
    }
    this.#notify(queue.completions);
    this.serve(queue);
  }

  #run(command: Command): void {
    const { queue, cid } = command;
    this.#activity.looking(command);
    const status = this.#execute(command);
    if (status !== PENDING) this.complete(queue, cid, status, command.result);
    this.#spare.push(command);
  }

  #post(queue: SubmissionQueue, cid: number, status: number, result: number): void {
    if (this.#failed) return;
    const { completions } = queue;
    completions.compose(queue, cid, status, result);
    this.#activity.completing(completions);
    const { entry } = completions;
    const at = completions.tail * COMPLETION_SIZE;
    const whole = this.#bus.dmaWrite(completions.lowAt(at), entry, completions.highAt(at));
    if (whole) completions.advance();
    else this.#giveUp();
  }

  #notify(queue: CompletionQueue): void {
    if (!queue.interrupts || queue.empty) return;
    if (this.#bus.messages) this.#bus.raise(queue.vector);
    else this.updateLine();
  }

  #giveUp(): void {
    this.#failed = true;
    this.#fail();
  }
}
