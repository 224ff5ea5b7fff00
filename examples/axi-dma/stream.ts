/** An AXI4-Stream that is looped back through a FIFO: S2MM receives the packets that MM2S sends, one by one. */

/** Bytes of one packet, or of a part of it. */
export interface Beats {
  readonly bytes: Uint8Array;
  /** TLAST: the packet ends here. */
  readonly last: boolean;
}

/**
 * MM2S pushes packets into a stream, and S2MM takes packets from it. It is a loopback, or the model of a core between
 * the two.
 */
export interface Stream {
  /**
   * The model sets these functions. Call them when the sender may find room, and when the receiver may find bytes.
   */
  onRoom: () => void;
  /** Called by the stream when bytes have come for the core. The core sets it. */
  onBytes: () => void;
  /** The number of bytes that can be pushed now. */
  readonly room: number;
  /** Takes bytes that the core sends. `last` marks the end of a packet. */
  push(beats: Beats): void;
  /**
   * At most `length` bytes of one packet, the oldest; undefined if there is none. Beats without bytes mean the end of
   * a packet (`last`).
   */
  take(length: number): Beats | undefined;
  /** The core was reset. */
  clear(): void;
}

export class LoopbackStream implements Stream {
  onRoom = (): void => {};
  /** Called when bytes have come for the core. The core sets it. */
  onBytes = (): void => {};

  readonly #capacity: number;
  #queue: Beats[] = [];
  #fill = 0;

  /** @param capacity bytes of the FIFO; a sender that is that far ahead of the receiver has to wait */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get room(): number {
    return this.#capacity - this.#fill;
  }

  /** Takes bytes that the core sends, and keeps them for it to receive. */
  push(beats: Beats): void {
    // Beats without bytes are ignored, unless the packet ends there.
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
