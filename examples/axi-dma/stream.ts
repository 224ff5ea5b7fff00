/** An AXI4-Stream looped back through a FIFO: what MM2S sends, S2MM receives, packet by packet. */

/** Bytes of one packet, not necessarily all of it. */
export interface Beats {
  readonly bytes: Uint8Array;
  /** TLAST: the packet ends here. */
  readonly last: boolean;
}

/** What MM2S pushes packets into and S2MM takes them from: a loopback, or the model of a core between the two. */
export interface Stream {
  /** Set by the model, to be called when the sender may find room, and when the receiver may find bytes. */
  onRoom: () => void;
  onBytes: () => void;
  /** Bytes that can be pushed now. */
  readonly room: number;
  push(beats: Beats): void;
  /**
   * At most `length` bytes of one packet, the oldest; undefined when there are none. Beats without bytes are the end of
   * a packet, `last`.
   */
  take(length: number): Beats | undefined;
  /** The core is reset. */
  clear(): void;
}

export class LoopbackStream implements Stream {
  onRoom = (): void => {};
  onBytes = (): void => {};

  readonly #capacity: number;
  #queue: Beats[] = [];
  #fill = 0;

  /** @param capacity bytes of the FIFO: a sender that is that much ahead of the receiver is held up */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get room(): number {
    return this.#capacity - this.#fill;
  }

  push(beats: Beats): void {
    // Beats without bytes say nothing, unless the packet ends there.
    if (beats.bytes.length === 0 && !beats.last) return;
    this.#queue.push(beats);
    this.#fill += beats.bytes.length;
    this.onBytes();
  }

  take(length: number): Beats | undefined {
    const [oldest] = this.#queue;
    if (oldest === undefined) return undefined;
    const taken = cut(oldest, length);
    const rest = oldest.bytes.subarray(taken.bytes.length);
    if (rest.length > 0) this.#queue[0] = { bytes: rest, last: oldest.last };
    else this.#queue.shift();
    this.#fill -= taken.bytes.length;
    this.onRoom();
    return taken;
  }

  clear(): void {
    this.#queue = [];
    this.#fill = 0;
  }
}

function cut(beats: Beats, length: number): Beats {
  return beats.bytes.length <= length ? beats : { bytes: beats.bytes.subarray(0, length), last: false };
}
