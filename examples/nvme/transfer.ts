/**
 * One read or write of any length. It is cut into commands, each of which maps its part of the memory while it is
 * under way.
 */
import type { DmaError } from '../../lib/index.ts';
import type { CommandQueue, Submission } from './command-queue.ts';
import { IO } from './commands.ts';
import type { Lent, Payload, TransferMemory } from './memory.ts';
import type { QueuePair } from './queue-pair.ts';
import { NvmeError } from './status.ts';

/** The blocks of a command that reads or writes. */
export interface Range {
  readonly opcode: number;
  readonly namespace: number;
  /** First block. */
  readonly lba: number;
  /** 1 to 65,536. */
  readonly blocks: number;
}

/** The whole transfer. It settles when its last command has ended, with the first error if there was one. */
export class Transfer {
  readonly done: Promise<void>;
  #left = 0;
  #error: unknown;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** True if one of its commands has failed. Commands that have not begun are skipped then. */
  get failed(): boolean {
    return this.#error !== undefined;
  }

  /** Starts all commands. */
  start(commands: readonly TransferCommand[], queue: CommandQueue): void {
    this.#left = commands.length;
    for (const command of commands) queue.enqueue(command);
  }

  /** One of its commands has ended. */
  end(error?: unknown): void {
    this.#error ??= error;
    if (--this.#left > 0) return;
    if (this.#error === undefined) this.#resolve();
    else this.#reject(this.#error);
  }
}

export class TransferCommand implements Submission {
  #late: DmaError | undefined;
  readonly #transfer: Transfer;
  readonly #memory: TransferMemory;
  readonly #range: Range;
  readonly #payload: Payload;
  #lent: Lent | undefined;

  constructor(transfer: Transfer, memory: TransferMemory, range: Range, payload: Payload) {
    this.#transfer = transfer;
    this.#memory = memory;
    this.#range = range;
    this.#payload = payload;
  }

  submit(pair: QueuePair, again: () => void): boolean {
    if (this.#transfer.failed) {
      this.#transfer.end();
      return true;
    }
    const { opcode, namespace, lba, blocks } = this.#range;
    try {
      const direction = opcode === IO.read ? 'from-device' : 'to-device';
      this.#lent = this.#memory.lendTillDone(this.#payload, direction, again);
    } catch (error) {
      this.#transfer.end(error);
      return true;
    }
    if (this.#lent === undefined) return false;
    pair.submitIo(opcode, namespace, lba, blocks - 1, this.#lent.pointer, this);
    return true;
  }

  complete(status: number): void {
    this.#end(status === 0 ? undefined : (this.#late ?? new NvmeError(status, this.#text())));
  }

  abandon(error: DmaError): void {
    this.#end(this.#late ?? error);
  }

  expire(error: DmaError): void {
    this.#late = error;
  }

  /** The memory belongs to the caller again before the promise settles. */
  #end(error: DmaError | undefined): void {
    let failure: unknown = error;
    try {
      if (this.#lent !== undefined) this.#memory.done(this.#lent);
    } catch (detached) {
      failure ??= detached;
    }
    this.#transfer.end(failure);
  }

  #text(): string {
    const { opcode, namespace, lba, blocks } = this.#range;
    return `${opcode === IO.read ? 'read' : 'write'} of ${blocks} blocks at ${lba} of namespace ${namespace}`;
  }
}

/** The bytes of all views. */
export function payloadBytes(payload: Payload): number {
  if (ArrayBuffer.isView(payload)) return payload.byteLength;
  return (payload as readonly ArrayBufferView[]).reduce((sum, view) => sum + view.byteLength, 0);
}

/**
 * Cuts the payload into parts of `size` bytes; the last may be shorter. A payload that is not longer than that stays
 * as it is.
 */
export function* cut(payload: Payload, size: number): Generator<Payload> {
  if (payloadBytes(payload) <= size) {
    yield payload;
    return;
  }
  const views = ArrayBuffer.isView(payload) ? [payload] : (payload as readonly ArrayBufferView[]);
  let part: Uint8Array[] = [];
  let room = size;
  for (const view of views) {
    for (let at = 0; at < view.byteLength; ) {
      const length = Math.min(room, view.byteLength - at);
      part.push(new Uint8Array(view.buffer, view.byteOffset + at, length));
      at += length;
      room -= length;
      if (room > 0) continue;
      yield part.length === 1 ? part[0]! : part;
      part = [];
      room = size;
    }
  }
  if (part.length > 0) yield part.length === 1 ? part[0]! : part;
}
