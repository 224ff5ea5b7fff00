/**
 * The frames between a simulator process and us (docs/rtl.md, "The protocol"): u32 length, u8 type, body;
 * little-endian.
 */

export const PROTOCOL_VERSION = 1;

export const FRAME = {
  hello: 0x01,
  read: 0x02,
  write: 0x03,
  run: 0x04,
  reset: 0x05,
  set: 0x06,
  waves: 0x07,
  mark: 0x08,
  streamIn: 0x09,
  dmaReadAnswer: 0x10,
  dmaWriteAnswer: 0x11,
  done: 0x80,
  description: 0x81,
  dmaRead: 0x90,
  dmaWrite: 0x91,
  interrupt: 0x92,
  report: 0x93,
  streamOut: 0x94,
  burst: 0x95,
} as const;

/** Bytes of length and type. */
export const HEADER = 5;

/** A frame that is longer than this cannot be right: AXI bursts have at most 256 beats of 128 bytes. */
export const LONGEST_FRAME = 1 << 20;

/** The struct BeatRecord of native/rtl/part.h, little-endian: u64 clock, u64 strobes. */
export const BEAT_RECORD = 16;

/** The beats of a BURST. */
export function readBeats(bytes: Uint8Array): { clocks: number[]; strobes: bigint[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const clocks: number[] = [];
  const strobes: bigint[] = [];
  for (let at = 0; at + BEAT_RECORD <= bytes.length; at += BEAT_RECORD) {
    clocks.push(Number(view.getBigUint64(at, true)));
    strobes.push(view.getBigUint64(at + 8, true));
  }
  return { clocks, strobes };
}

/** Makes one frame at a time, in a buffer that is reused. */
export class FrameWriter {
  bytes = new Uint8Array(4096);
  #view = new DataView(this.bytes.buffer);
  #at = HEADER;

  begin(type: number): this {
    this.#at = HEADER;
    this.bytes[4] = type;
    return this;
  }

  u8(value: number): this {
    this.#reserve(1);
    this.bytes[this.#at++] = value;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  /** A number below 2^53. */
  u64(value: number): this {
    return this.u32(value >>> 0).u32(Math.floor(value / 2 ** 32));
  }

  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }

  text(text: string): this {
    return this.raw(Buffer.from(text));
  }

  /** @returns the number of bytes of the frame, from the start of `bytes` */
  end(): number {
    this.#view.setUint32(0, this.#at - 4, true);
    return this.#at;
  }

  #reserve(more: number): void {
    if (this.#at + more <= this.bytes.length) return;
    const larger = new Uint8Array(2 * (this.#at + more));
    larger.set(this.bytes);
    this.bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
