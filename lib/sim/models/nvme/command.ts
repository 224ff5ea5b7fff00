/** A submission queue entry that the controller has fetched, and the result of its command. */
import type { SubmissionQueue } from './queues.ts';

export const ENTRY_SIZE = 64;

/** A submission queue entry. */
export class Command {
  /** The entry as it was fetched. */
  readonly bytes = new Uint8Array(ENTRY_SIZE);
  /** The queue that it came from. */
  queue!: SubmissionQueue;
  entry = 0;
  /** The first word of the completion. */
  result = 0;
  /** Runs the command. The function is made once, for a later call. */
  readonly run: () => void;
  readonly #view = new DataView(this.bytes.buffer);

  constructor(run: (command: Command) => void) {
    this.run = () => run(this);
  }

  get opcode(): number {
    return this.bytes[0]!;
  }

  /** Not 0 if the command is one of two fused commands. */
  get fused(): number {
    return this.bytes[1]! & 3;
  }

  /** PRP or SGL for data transfer: 0 PRPs, 1 and 2 SGLs. */
  get psdt(): number {
    return this.bytes[1]! >> 6;
  }

  get cid(): number {
    return this.#view.getUint16(2, true);
  }

  get nsid(): number {
    return this.#view.getUint32(4, true);
  }

  /** 32 bits at byte `offset`. */
  word(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  get cdw10(): number {
    return this.#view.getUint32(40, true);
  }

  get cdw11(): number {
    return this.#view.getUint32(44, true);
  }

  get cdw12(): number {
    return this.#view.getUint32(48, true);
  }
}
