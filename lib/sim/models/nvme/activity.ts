/**
 * The present activity of the controller. It is recorded as numbers, and put into words only when an access fails.
 */
import type { Command } from './command.ts';
import type { CompletionQueue, SubmissionQueue } from './queues.ts';

type Stage = 'idle' | 'fetching' | 'looking' | 'list' | 'data' | 'completing';

const ADMIN_NAMES: Readonly<Record<number, string>> = {
  0: 'Delete I/O Submission Queue',
  1: 'Create I/O Submission Queue',
  2: 'Get Log Page',
  4: 'Delete I/O Completion Queue',
  5: 'Create I/O Completion Queue',
  6: 'Identify',
  8: 'Abort',
  9: 'Set Features',
  10: 'Get Features',
  12: 'Asynchronous Event Request',
};

const NVM_NAMES: Readonly<Record<number, string>> = {
  0: 'Flush',
  1: 'Write',
  2: 'Read',
  5: 'Compare',
  8: 'Write Zeroes',
  9: 'Dataset Management',
};

/** The present activity of the model, in words for the message of a fault. */
export class Activity {
  #stage: Stage = 'idle';
  #command: Command | undefined;
  #queue: SubmissionQueue | CompletionQueue | undefined;
  #piece = 0;
  #pieces = 0;

  idle(): void {
    this.#stage = 'idle';
  }

  fetching(queue: SubmissionQueue): void {
    this.#stage = 'fetching';
    this.#queue = queue;
  }

  looking(command: Command): void {
    this.#stage = 'looking';
    this.#command = command;
  }

  /** The controller begins or ends reading a PRP list or an SGL segment of the current command. */
  list(reading: boolean): void {
    this.#stage = reading ? 'list' : 'looking';
  }

  /** The controller moves the data of the current command. @param pieces the number of pieces in its data pointer */
  data(piece: number, pieces: number): void {
    this.#stage = 'data';
    this.#piece = piece;
    this.#pieces = pieces;
  }

  completing(queue: CompletionQueue): void {
    this.#stage = 'completing';
    this.#queue = queue;
  }

  /** Undefined if the controller is idle. */
  describe(): string | undefined {
    const command = this.#command;
    switch (this.#stage) {
      case 'idle':
        return undefined;
      case 'fetching':
        return `entry ${(this.#queue as SubmissionQueue).head} of submission queue ${this.#queue!.id}`;
      case 'completing':
        return `entry ${(this.#queue as CompletionQueue).tail} of completion queue ${this.#queue!.id}`;
      case 'looking':
        return describe(command!);
      case 'list':
        return `${describe(command!)}, ${command!.psdt === 0 ? 'its PRP list' : 'a segment of its SGL'}`;
      case 'data':
        return `${describe(command!)}, ${pieceName(command!, this.#piece, this.#pieces)}`;
    }
  }
}

/** `Read, command 7 of queue 1, at entry 12` */
function describe(command: Command): string {
  const { opcode, cid, queue, entry } = command;
  const name = (queue.id === 0 ? ADMIN_NAMES : NVM_NAMES)[opcode] ?? `opcode 0x${opcode.toString(16)}`;
  return `${name}, command ${cid} of queue ${queue.id}, at entry ${entry}`;
}

function pieceName({ psdt }: Command, piece: number, pieces: number): string {
  if (psdt !== 0) return `block ${piece} of its SGL`;
  if (piece === 0) return 'PRP1';
  return pieces === 2 ? 'PRP2' : `entry ${piece - 1} of its PRP list`;
}
