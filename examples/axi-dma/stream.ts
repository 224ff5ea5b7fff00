/** An AXI4-Stream looped back through a FIFO: what MM2S sends, S2MM receives, packet by packet. */

/** Bytes of one packet, not necessarily all of it. */
export interface Beats {
  readonly bytes: Uint8Array;
  /** TLAST: the packet ends here. */
  readonly last: boolean;
}

export class LoopbackStream {
  /** Called when the sender may find room, and when the receiver may find bytes. */
  onRoom = (): void => {};
  onBytes = (): void => {};

  readonly #capacity: number;
  #queue: Beats[] = [];
  #fill = 0;

  /** @param capacity bytes of the FIFO: a sender that is that much ahead of the receiver is held up */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Bytes that can be pushed now. */
  get room(): number {
    return this.#capacity - this.#fill;
  }

  push(beats: Beats): void {
    this.#queue.push(beats);
    this.#fill += beats.bytes.length;
    this.onBytes();
  }

  /** At most `length` bytes of one packet, the oldest; undefined when there are none. */
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
