/** Queues as the controller sees them: their place in memory, and the controller's progress in them. */
import { wholeAddress } from '../../../iommu/bus-address.ts';
import type { Command } from './command.ts';

export const COMPLETION_SIZE = 16;
const WORD = 2 ** 32;

/** The address of a queue in memory, in unsigned halves, and its length. */
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

  /** The low half of an address in the queue, signed. @param offset bytes */
  lowAt(offset: number): number {
    return (this.#low + offset) | 0;
  }

  highAt(offset: number): number {
    return this.#low + offset < WORD ? this.#high : this.#high + 1;
  }

  /** The number of entries from the head to `index`, with wrap-around. */
  protected distance(index: number): number {
    return index >= this.head ? index - this.head : index - this.head + this.entries;
  }
}

/** A submission queue. The driver's doorbell sets its tail. */
export class SubmissionQueue extends Queue {
  readonly completions: CompletionQueue;
  /** Commands of this queue that are being executed. */
  readonly inFlight = new Set<Command>();

  constructor(id: number, memory: QueueMemory, completions: CompletionQueue) {
    super(id, memory);
    this.completions = completions;
  }

  /** True if the tail may move there. It must not move back over entries that were not fetched. */
  takes(tail: number): boolean {
    return tail < this.entries && this.distance(tail) >= this.distance(this.tail);
  }

  advance(): void {
    this.head = this.head + 1 === this.entries ? 0 : this.head + 1;
  }
}

/** A completion for which there is no room yet. */
interface Waiting {
  readonly queue: SubmissionQueue;
  readonly cid: number;
  readonly status: number;
  readonly result: number;
}

/** A completion queue. The driver's doorbell sets its head. */
export class CompletionQueue extends Queue {
  readonly vector: number;
  /** True if completions cause interrupts. */
  readonly interrupts: boolean;
  phase = 1;
  /** The number of entries that were ever written. */
  posted = 0;
  /** The submission queues that use this completion queue. */
  readonly submissions = new Set<SubmissionQueue>();
  readonly waiting: Waiting[] = [];
  /** The entry to write. The buffer is reused for every entry. */
  readonly entry = new Uint8Array(COMPLETION_SIZE);
  readonly #view = new DataView(this.entry.buffer);

  constructor(id: number, memory: QueueMemory, vector: number, interrupts: boolean) {
    super(id, memory);
    this.vector = vector;
    this.interrupts = interrupts;
  }

  /** One entry always stays free, so that a full queue differs from an empty one. */
  get full(): boolean {
    return (this.tail + 1 === this.entries ? 0 : this.tail + 1) === this.head;
  }

  /** True if the head may move there. It must not move beyond the written entries. */
  takes(head: number): boolean {
    return head < this.entries && this.distance(head) <= this.distance(this.tail);
  }

  /** Fills `entry` with the completion of a command. */
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
