/**
 * Posted writes under way in one direction of a link. The writer does not wait for them; each write arrives some time
 * later. They arrive in the order in which they were made, with one exception: a relaxed write may pass those before
 * it (PCI Express 5.0, 2.4.1, table 2-39, entries A2a and A2b).
 */
import type { Scheduled, SimulatedClock } from '../clock.ts';
import type { Lag } from './options.ts';

interface Posted {
  readonly due: number;
  arrive(): void;
}

/** Writes that are under way, in the order in which they may arrive. */
export class PostedWrites {
  readonly #clock: SimulatedClock;
  readonly #lag: Lag;
  /** Ordered by arrival. */
  #underWay: Posted[] = [];
  /** The arrival of the first write. */
  #next: Scheduled | undefined;

  constructor(clock: SimulatedClock, lag: Lag) {
    this.#clock = clock;
    this.#lag = lag;
  }

  /** @param relaxed true if the write may pass the writes before it */
  post(arrive: () => void, relaxed = false): void {
    const queue = this.#underWay;
    const last = queue.at(-1)?.due ?? 0;
    const due = this.#clock.now + this.#lag.time();
    if (!relaxed || due >= last) {
      queue.push({ due: Math.max(due, last), arrive });
    } else {
      queue.splice(
        queue.findIndex((posted) => posted.due > due),
        0,
        { due, arrive },
      );
    }
    this.#schedule();
  }

  /** All writes arrive now, because an access follows that must not pass them. */
  flush(): void {
    this.#arriveUntil(Number.POSITIVE_INFINITY);
  }

  /** Drops all writes. */
  clear(): void {
    this.#underWay = [];
    this.#schedule();
  }

  #arriveUntil(time: number): void {
    try {
      for (let first = this.#underWay[0]; first !== undefined && first.due <= time; ) {
        // It is removed first, because its arrival may make the device flush these writes.
        this.#underWay.shift();
        first.arrive();
        first = this.#underWay[0];
      }
    } finally {
      this.#schedule();
    }
  }

  #schedule(): void {
    const due = this.#underWay[0]?.due;
    if (this.#next?.due === due) return;
    if (this.#next !== undefined) this.#clock.cancel(this.#next);
    this.#next =
      due === undefined
        ? undefined
        : this.#clock.after(due - this.#clock.now, () => {
            this.#next = undefined;
            this.#arriveUntil(this.#clock.now);
          });
  }
}
