/**
 * Asynchronous events (NVM Express 1.4, 5.2): requests that wait for an event, and events that wait for a request.
 */
import { PENDING, STATUS } from './status.ts';

/** AERL: the number of requests that may wait, minus one. */
export const EVENT_REQUEST_LIMIT = 3;
const MOST_QUEUED = 64;

export const EVENT = {
  error: 0,
  smart: 1,
} as const;

/** The asynchronous events of the controller, and the commands that wait for them. */
export class AsynchronousEvents {
  /** Completes a request. */
  readonly #complete: (cid: number, result: number) => void;
  readonly #requests: number[] = [];
  readonly #queued: { readonly type: number; readonly result: number }[] = [];
  /** Types of events that were reported, and whose log page the host has not read since: one bit each. */
  #masked = 0;

  constructor(complete: (cid: number, result: number) => void) {
    this.#complete = complete;
  }

  /** True if the host waits for an event. */
  get awaited(): boolean {
    return this.#requests.length > 0;
  }

  /** A request has come. Returns a status, or PENDING if it waits. */
  request(cid: number): number {
    if (this.#requests.length > EVENT_REQUEST_LIMIT) return STATUS.eventRequestLimit;
    this.#requests.push(cid);
    this.#deliver();
    return PENDING;
  }

  /** An event has happened. @param page the log page with the details */
  tell(type: number, information: number, page: number): void {
    if (this.#queued.length === MOST_QUEUED) return;
    this.#queued.push({ type, result: type | (information << 8) | (page << 16) });
    this.#deliver();
  }

  /** The host has read the log page of events of this type. */
  clear(type: number): void {
    this.#masked &= ~(1 << type);
    this.#deliver();
  }

  reset(): void {
    this.#requests.length = 0;
    this.#queued.length = 0;
    this.#masked = 0;
  }

  /**
   * Reports one event of a type. Further events of that type wait until its log page is read. The newest request is
   * answered first.
   */
  #deliver(): void {
    for (let i = 0; i < this.#queued.length && this.#requests.length > 0; ) {
      const { type, result } = this.#queued[i]!;
      if ((this.#masked >> type) & 1) {
        i++;
        continue;
      }
      this.#queued.splice(i, 1);
      this.#masked |= 1 << type;
      this.#complete(this.#requests.pop()!, result);
    }
  }
}
