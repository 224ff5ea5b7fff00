/**
 * Simulated time: a queue of actions. They run in the order of their due time and never by the wall clock, so that
 * every run is the same. Time passes when the driver does something that takes time. When the event loop is idle, it
 * jumps to the next action.
 */

/** An action that is scheduled, for `cancel`. */
export interface Scheduled {
  readonly due: number;
  readonly action: () => void;
}

/** The simulated time of one device, and what is scheduled on it. */
export class SimulatedClock {
  /** Ascending. Actions that are due at the same time keep the order in which they were scheduled. */
  #queue: Scheduled[] = [];
  #now = 0;
  #running = false;
  #turn: NodeJS.Immediate | undefined;
  /** Runs the next due action. It is one function object for all turns. */
  readonly #onTurn = (): void => {
    this.#turn = undefined;
    try {
      this.#runUntil(this.#queue[0]?.due ?? this.#now);
    } finally {
      this.#schedule();
    }
  };

  /** Microseconds since power-up. */
  get now(): number {
    return this.#now;
  }

  /** The number of scheduled actions. */
  get scheduled(): number {
    return this.#queue.length;
  }

  /** @param microseconds at least 1, so that time passes even if an action always schedules itself again */
  after(microseconds: number, action: () => void): Scheduled {
    const event = { due: this.#now + Math.max(1, microseconds), action };
    let at = this.#queue.length;
    while (at > 0 && this.#queue[at - 1]!.due > event.due) at--;
    if (at === this.#queue.length) this.#queue.push(event);
    else this.#queue.splice(at, 0, event);
    this.#schedule();
    return event;
  }

  /** Prevents an action from running. Does nothing if the action has run already. */
  cancel(event: Scheduled): void {
    const at = this.#queue.indexOf(event);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  /** Lets time jump to the next action, as in an idle event loop. @returns false if no action is scheduled */
  step(): boolean {
    const next = this.#queue[0];
    if (next === undefined) return false;
    this.#runUntil(next.due);
    return true;
  }

  /** Lets time pass. The actions that become due run inside this call. */
  advance(microseconds: number): void {
    this.#runUntil(this.#now + microseconds);
  }

  /** Lets time pass by itself while the event loop turns. */
  start(): void {
    this.#running = true;
    this.#schedule();
  }

  stop(): void {
    this.#running = false;
    clearImmediate(this.#turn);
    this.#turn = undefined;
  }

  /** Cancels all actions. */
  clear(): void {
    this.#queue = [];
  }

  #schedule(): void {
    if (!this.#running || this.#turn !== undefined || this.#queue.length === 0) return;
    this.#turn = setImmediate(this.#onTurn);
  }

  #runUntil(time: number): void {
    for (let next = this.#queue[0]; next !== undefined && next.due <= time; next = this.#queue[0]) {
      this.#queue.shift();
      this.#now = Math.max(this.#now, next.due);
      next.action();
    }
    this.#now = Math.max(this.#now, time);
  }
}
