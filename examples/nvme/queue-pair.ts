/**
 * A submission queue and its completion queue (NVM Express Base 2.0, 3.3.1): the rings, the commands under way and
 * the two doorbells. No method waits, and a command allocates nothing. It is the interface for programs that count
 * nanoseconds:
 *
 *      const data = nvme.memory.lend(buffer.bytes, 'from-device').pointer;    // once, for a buffer that is used often
 *      pair.submitRead(1, lba, 8, data, completion);                          // as often as there is room
 *      pair.ring();                                                           // one doorbell for all of them
 *      while (done < wanted) done += pair.poll();                             // calls completion.complete for each
 *
 * A command has an identifier from its submission until it is completed or abandoned. There are `depth` identifiers,
 * one fewer than entries, so neither queue can overflow.
 */
import {
  type ArrayOf,
  type Bar,
  type CoherentBuffer,
  type DmaDevice,
  DmaError,
  RingIndex,
} from '../../lib/index.ts';
import { type Command, CompletionEntry, type DataPointer, IO, NO_DATA, SubmissionEntry } from './commands.ts';
import { headDoorbell, tailDoorbell } from './registers.ts';

/** Is told how a command ended: exactly once, by one of the first two methods. */
export interface Completion {
  /**
   * The command ended.
   * @param status bits 15:1 of the status field, 0 if the command succeeded
   * @param result dword 0
   */
  complete(status: number, result: number): void;
  /**
   * The controller will neither execute the command any more, nor touch its memory: it was reset or closed, or is
   * gone. The callback must not submit commands.
   */
  abandon(error: DmaError): void;
  /** The command takes too long, and is going to be aborted. It fails with `error` then. */
  expire?(error: DmaError): void;
}

const WORD = 2 ** 32;

export interface QueuePairOptions {
  readonly dma: DmaDevice;
  /** BAR 0. */
  readonly registers: Bar;
  /** The queue identifier; 0 is the admin queue. */
  readonly id: number;
  /** The entries of both rings, 2 to 65,536. */
  readonly entries: number;
  /** Bytes from one doorbell to the next. */
  readonly doorbellStride: number;
  /** The page size of the controller in bytes. Rings start at a page. */
  readonly pageSize: number;
}

/** A submission queue with its completion queue, without promises: it allocates nothing for a command. */
export class QueuePair {
  /** The queue identifier; 0 is the admin queue. */
  readonly id: number;
  /** Commands that may be under way at once. */
  readonly depth: number;
  readonly submissions: CoherentBuffer;
  readonly completions: CoherentBuffer;

  readonly #registers: Bar;
  readonly #tailDoorbell: number;
  readonly #headDoorbell: number;
  readonly #sq: ArrayOf<typeof SubmissionEntry>;
  readonly #cq: ArrayOf<typeof CompletionEntry>;
  readonly #tail: RingIndex;
  readonly #head: RingIndex;
  /**
   * The tail and the head that the controller knows. Ringing the same value again would be an error of this driver
   * (Base 2.0, figure 146).
   */
  #rungTail = 0;
  #rungHead = 0;
  /** The free identifiers, as a stack. */
  readonly #free: Uint16Array;
  #room: number;
  #paused = false;
  /** By identifier: the completion callback of the command. */
  readonly #waiting: (Completion | undefined)[];
  /** By identifier: the turn of the clock at which the command was submitted. */
  readonly #submitted: Int32Array;
  /** By identifier: 1 if the command took too long before. */
  readonly #expired: Uint8Array;
  #turn = 0;

  /** @throws DmaError ENOMEM, ENOSPC no memory */
  constructor({ dma, registers, id, entries, doorbellStride, pageSize }: QueuePairOptions) {
    this.id = id;
    this.depth = entries - 1;
    this.#registers = registers;
    this.#tailDoorbell = tailDoorbell(id, doorbellStride);
    this.#headDoorbell = headDoorbell(id, doorbellStride);
    // Coherent memory is aligned to its size, rounded up to a power of two.
    const bytes = (entry: { readonly size: number }) => Math.max(entries * entry.size, pageSize);
    this.submissions = dma.allocCoherent(bytes(SubmissionEntry));
    try {
      this.completions = dma.allocCoherent(bytes(CompletionEntry));
    } catch (error) {
      this.submissions.free();
      throw error;
    }
    this.#sq = SubmissionEntry.over(this.submissions.bytes);
    this.#cq = CompletionEntry.over(this.completions.bytes);
    this.#tail = new RingIndex(entries);
    this.#head = new RingIndex(entries);
    this.#free = Uint16Array.from({ length: this.depth }, (_, i) => this.depth - 1 - i);
    this.#room = this.depth;
    this.#waiting = new Array<Completion | undefined>(this.depth).fill(undefined);
    this.#submitted = new Int32Array(this.depth);
    this.#expired = new Uint8Array(this.depth);
  }

  /** The number of commands that can be submitted now; 0 while the pair is paused. */
  get room(): number {
    return this.#paused ? 0 : this.#room;
  }

  /** Commands under way. */
  get busy(): number {
    return this.depth - this.#room;
  }

  /**
   * Puts a Read into the queue (NVM Command Set 1.0, 3.2.4). The controller sees it at the next `ring`.
   * @param lba first block, below 2^53
   * @param blocks 1 to 65,536
   * @returns the command identifier, or -1 if the queue is full or paused
   */
  submitRead(
    namespace: number,
    lba: number,
    blocks: number,
    data: DataPointer,
    completion: Completion,
  ): number {
    return this.submitIo(IO.read, namespace, lba, blocks - 1, data, completion);
  }

  /** Puts a Write into the queue (NVM Command Set 1.0, 3.2.6); as `submitRead`. */
  submitWrite(
    namespace: number,
    lba: number,
    blocks: number,
    data: DataPointer,
    completion: Completion,
  ): number {
    return this.submitIo(IO.write, namespace, lba, blocks - 1, data, completion);
  }

  /** Puts a command into the queue that has a block in dwords 10 and 11, and `dword12` in dword 12. */
  submitIo(
    opcode: number,
    namespace: number,
    lba: number,
    dword12: number,
    data: DataPointer,
    completion: Completion,
  ): number {
    const id = this.#take(opcode, namespace, data, completion);
    if (id < 0) return id;
    const sq = this.#sq;
    const at = this.#tail.index;
    sq.dword10.set(at, lba);
    sq.dword11.set(at, lba / WORD);
    sq.dword12.set(at, dword12);
    sq.dword13.set(at, 0);
    sq.dword14.set(at, 0);
    sq.dword15.set(at, 0);
    this.#tail.advance();
    return id;
  }

  /** Puts any command into the queue; as `submitRead`. */
  submit(command: Command, completion: Completion): number {
    const { opcode, namespace = 0, data = NO_DATA } = command;
    const id = this.#take(opcode, namespace, data, completion);
    if (id < 0) return id;
    const sq = this.#sq;
    const at = this.#tail.index;
    sq.dword10.set(at, command.dword10 ?? 0);
    sq.dword11.set(at, command.dword11 ?? 0);
    sq.dword12.set(at, command.dword12 ?? 0);
    sq.dword13.set(at, command.dword13 ?? 0);
    sq.dword14.set(at, command.dword14 ?? 0);
    sq.dword15.set(at, command.dword15 ?? 0);
    this.#tail.advance();
    return id;
  }

  /**
   * Announces all new commands to the controller.
   * @throws DmaError ENODEV, EIO it does not answer
   */
  ring(): void {
    const { index } = this.#tail;
    if (index === this.#rungTail || this.#paused) return;
    this.#rungTail = index;
    this.#registers.write32(this.#tailDoorbell, index);
  }

  /**
   * Takes all completions, and tells the controller so by one doorbell. A callback may submit commands and ring the
   * doorbell.
   * @returns the number of completed commands
   * @throws DmaError EIO the controller completed a command that was not submitted · ENODEV, EIO it does not answer
   */
  poll(): number {
    if (this.#paused) return 0;
    const head = this.#head;
    const cq = this.#cq;
    let count = 0;
    for (;;) {
      const tail = cq.tail.load(head.index);
      if (((tail >>> 16) & 1) !== head.phase) break;
      const result = cq.result.get(head.index);
      head.advance();
      count++;
      this.#finish(tail & 0xffff, tail >>> 17, result);
    }
    const { index } = head;
    if (index !== this.#rungHead) {
      this.#rungHead = index;
      this.#registers.write32(this.#headDoorbell, index);
    }
    return count;
  }

  /** The controller is being reset, or is gone. Until `resume` the pair counts as full, and completes no command. */
  pause(): void {
    this.#paused = true;
  }

  /** The controller was started again: both queues are empty. */
  resume(): void {
    this.#paused = false;
  }

  /**
   * Time passes, in turns that the owner makes: the age of a command is the number of turns since it was submitted.
   */
  age(): void {
    this.#turn++;
  }

  /** The identifier of a command of at least that age; -1 if there is none. */
  findOlderThan(turns: number): number {
    if (this.#room === this.depth) return -1;
    return this.#waiting.findIndex(
      (completion, id) => completion !== undefined && this.#turn - this.#submitted[id]! >= turns,
    );
  }

  /** The command takes too long, and gets the same time again. Returns false if it has got that before. */
  expire(id: number, error: DmaError): boolean {
    this.#submitted[id] = this.#turn;
    this.#waiting[id]?.expire?.(error);
    const first = this.#expired[id] === 0;
    this.#expired[id] = 1;
    return first;
  }

  /** All commands end with `error`. The controller was stopped before, and does nothing any more. */
  abandon(error: DmaError): void {
    for (let id = 0; id < this.depth; id++) {
      const completion = this.#waiting[id];
      if (completion === undefined) continue;
      this.#give(id);
      completion.abandon(error);
    }
  }

  /** Resets both rings to their first state. The controller has forgotten them, and no command is under way. */
  reset(): void {
    this.submissions.bytes.fill(0);
    this.completions.bytes.fill(0);
    this.#tail.reset();
    this.#head.reset();
    this.#rungTail = this.#rungHead = 0;
  }

  /** Calling it twice is harmless. */
  free(): void {
    this.submissions[Symbol.dispose]();
    this.completions[Symbol.dispose]();
  }

  /** Fills dwords 0 to 9 of the entry at the tail. */
  #take(opcode: number, namespace: number, data: DataPointer, completion: Completion): number {
    if (this.#room === 0 || this.#paused) return -1;
    const id = this.#free[--this.#room]!;
    this.#waiting[id] = completion;
    this.#submitted[id] = this.#turn;
    this.#expired[id] = 0;
    const sq = this.#sq;
    const at = this.#tail.index;
    sq.head.set(at, opcode | data.flags | (id << 16));
    sq.namespace.set(at, namespace);
    sq.prp1.setParts(at, data.low1, data.high1);
    sq.prp2.setParts(at, data.low2, data.high2);
    return id;
  }

  #give(id: number): void {
    this.#waiting[id] = undefined;
    this.#free[this.#room++] = id;
  }

  #finish(id: number, status: number, result: number): void {
    const completion = this.#waiting[id];
    if (completion === undefined) {
      throw new DmaError('EIO', `queue ${this.id}: command ${id} was completed, which is not under way`, {
        remedy: 'reset the controller',
      });
    }
    this.#give(id);
    completion.complete(status, result);
  }
}
