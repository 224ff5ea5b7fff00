/** Queues as the controller keeps them: where they are in memory, and how far it has come. */
import type { Command } from './command.ts';

export const COMPLETION_SIZE = 16;
const WORD = 2 ** 32;

export class SubmissionQueue {
  readonly id: number;
  readonly address: number;
  /** The same in halves, both without a sign. */
  readonly low: number;
  readonly high: number;
  readonly entries: number;
  readonly completions: CompletionQueue;
  /** Of the next entry to be fetched. */
  head = 0;
  /** As the driver's doorbell says. */
  tail = 0;
  /** Commands of this queue that take their time. */
  readonly inFlight = new Set<Command>();

  constructor(id: number, address: number, entries: number, completions: CompletionQueue) {
    this.id = id;
    this.address = address;
    this.low = address % WORD;
    this.high = Math.floor(address / WORD);
    this.entries = entries;
    this.completions = completions;
  }

  get empty(): boolean {
    return this.head === this.tail;
  }

  /** Whether the tail may go there: it does not move back over entries that were not fetched. */
  takesTail(value: number): boolean {
    return (
      value < this.entries &&
      distance(this.head, value, this.entries) >= distance(this.head, this.tail, this.entries)
    );
  }

  advance(): void {
    this.head = this.head + 1 === this.entries ? 0 : this.head + 1;
  }
}

/** A completion that has no room yet. */
interface Waiting {
  readonly queue: SubmissionQueue;
  readonly cid: number;
  readonly status: number;
  readonly result: number;
}

export class CompletionQueue {
  readonly id: number;
  readonly address: number;
  /** The same in halves, both without a sign. */
  readonly low: number;
  readonly high: number;
  readonly entries: number;
  readonly vector: number;
  /** Whether completions interrupt. */
  readonly interrupts: boolean;
  /** The next entry the driver has not taken, as its doorbell says. */
  head = 0;
  /** Of the next entry to be written. */
  tail = 0;
  phase = 1;
  /** Entries ever written. */
  posted = 0;
  /** Submission queues that lead here. */
  readonly submissions = new Set<SubmissionQueue>();
  readonly waiting: Waiting[] = [];
  /** The entry to be written, for every one of them. */
  readonly entry = new Uint8Array(COMPLETION_SIZE);
  readonly #view = new DataView(this.entry.buffer);

  constructor(id: number, address: number, entries: number, vector: number, interrupts: boolean) {
    this.id = id;
    this.address = address;
    this.low = address % WORD;
    this.high = Math.floor(address / WORD);
    this.entries = entries;
    this.vector = vector;
    this.interrupts = interrupts;
  }

  /** One entry stays free, so that full and empty differ. */
  get full(): boolean {
    return (this.tail + 1 === this.entries ? 0 : this.tail + 1) === this.head;
  }

  get empty(): boolean {
    return this.head === this.tail;
  }

  /** Whether the head may go there: not beyond what was written. */
  takesHead(value: number): boolean {
    return (
      value < this.entries &&
      distance(this.head, value, this.entries) <= distance(this.head, this.tail, this.entries)
    );
  }

  /** Makes `entry` say that a command is done. */
  compose({ id, head }: SubmissionQueue, cid: number, status: number, result: number): void {
    this.#view.setUint32(0, result, true);
    this.#view.setUint16(8, head, true);
    this.#view.setUint16(10, id, true);
    this.#view.setUint16(12, cid, true);
    this.#view.setUint16(14, (status << 1) | this.phase, true);
  }

  advance(): void {
    this.posted++;
    this.tail++;
    if (this.tail < this.entries) return;
    this.tail = 0;
    this.phase ^= 1;
  }
}

/** Entries from one to another, going round. */
function distance(from: number, to: number, entries: number): number {
  return to >= from ? to - from : to - from + entries;
}
