/** Queues as the controller keeps them: where they are in memory, and how far it has come. */
import { wholeAddress } from '../../../iommu/bus-address.ts';
import type { Command } from './command.ts';

export const COMPLETION_SIZE = 16;
const WORD = 2 ** 32;

/** Where a queue is in memory, in halves without a sign, and how long it is. */
export interface QueueMemory {
  readonly low: number;
  readonly high: number;
  readonly entries: number;
}

abstract class Queue {
  readonly id: number;
  readonly entries: number;
  /**
   * The next slot to read (`head`) and to write (`tail`): the device reads submission queues and writes completion
   * queues.
   */
  head = 0;
  tail = 0;
  readonly #low: number;
  readonly #high: number;

  constructor(id: number, { low, high, entries }: QueueMemory) {
    this.id = id;
    this.entries = entries;
    this.#low = low;
    this.#high = high;
  }

  get address(): bigint | number {
    return wholeAddress(this.#low, this.#high);
  }

  get empty(): boolean {
    return this.head === this.tail;
  }

  /** Low half of an address in it, with a sign. @param offset bytes */
  lowAt(offset: number): number {
    return (this.#low + offset) | 0;
  }

  highAt(offset: number): number {
    return this.#low + offset < WORD ? this.#high : this.#high + 1;
  }

  /** Entries from the head to `index`, going round. */
  protected distance(index: number): number {
    return index >= this.head ? index - this.head : index - this.head + this.entries;
  }
}

/** Its tail is the driver's doorbell. */
export class SubmissionQueue extends Queue {
  readonly completions: CompletionQueue;
  /** Commands of this queue that take their time. */
  readonly inFlight = new Set<Command>();

  constructor(id: number, memory: QueueMemory, completions: CompletionQueue) {
    super(id, memory);
    this.completions = completions;
  }

  /** Whether the tail may go there: it does not move back over entries that were not fetched. */
  takes(tail: number): boolean {
    return tail < this.entries && this.distance(tail) >= this.distance(this.tail);
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

/** Its head is the driver's doorbell. */
export class CompletionQueue extends Queue {
  readonly vector: number;
  /** Whether completions interrupt. */
  readonly interrupts: boolean;
  phase = 1;
  /** Entries ever written. */
  posted = 0;
  /** Submission queues that lead here. */
  readonly submissions = new Set<SubmissionQueue>();
  readonly waiting: Waiting[] = [];
  /** The entry to be written, for every one of them. */
  readonly entry = new Uint8Array(COMPLETION_SIZE);
  readonly #view = new DataView(this.entry.buffer);

  constructor(id: number, memory: QueueMemory, vector: number, interrupts: boolean) {
    super(id, memory);
    this.vector = vector;
    this.interrupts = interrupts;
  }

  /** One entry stays free, so that full and empty differ. */
  get full(): boolean {
    return (this.tail + 1 === this.entries ? 0 : this.tail + 1) === this.head;
  }

  /** Whether the head may go there: not beyond what was written. */
  takes(head: number): boolean {
    return head < this.entries && this.distance(head) <= this.distance(this.tail);
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
