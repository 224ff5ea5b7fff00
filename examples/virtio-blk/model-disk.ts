/** The disk behind the device: sectors in memory, and the effect of a request on them (5.2.6). */
import type { ModelChain } from './model-queue.ts';
import { ID_BYTES, REQUEST, RESULT, SECTOR } from './registers.ts';

const HEAD_BYTES = 16;

export class ModelDisk {
  /** The bytes of the whole disk. */
  bytes: Uint8Array;
  /** The number of flush requests so far. */
  flushes = 0;
  /** The next requests that move data fail with this status. 0 ends that. */
  failWith: number = RESULT.ok;
  readonly #serial: Uint8Array;
  readonly #readOnly: boolean;

  constructor(capacity: number, serial: string, readOnly: boolean) {
    this.bytes = new Uint8Array(capacity);
    this.#serial = new TextEncoder().encode(serial).subarray(0, ID_BYTES);
    this.#readOnly = readOnly;
  }

  get capacity(): number {
    return this.bytes.length;
  }

  resize(capacity: number): void {
    const bytes = new Uint8Array(capacity);
    bytes.set(this.bytes.subarray(0, capacity));
    this.bytes = bytes;
  }

  /**
   * Returns the number of bytes that were written to memory, including the status; undefined if the chain is not a
   * request.
   */
  handle(chain: ModelChain): number | undefined {
    const head = new DataView(new ArrayBuffer(HEAD_BYTES));
    if (chain.readBytes < HEAD_BYTES || chain.writeBytes < 1) return undefined;
    if (!chain.read(0, new Uint8Array(head.buffer))) return undefined;
    const moved = chain.writeBytes - 1;
    const [result, written] = this.#do(head.getUint32(0, true), head.getBigUint64(8, true), chain, moved);
    chain.write(moved, Uint8Array.of(result));
    return written + 1;
  }

  #do(type: number, sector: bigint, chain: ModelChain, room: number): [result: number, written: number] {
    switch (type) {
      case REQUEST.read: {
        const part = this.#part(sector, room);
        if (part === undefined || this.failWith !== RESULT.ok) return [this.failWith || RESULT.error, 0];
        return chain.write(0, part) ? [RESULT.ok, room] : [RESULT.error, 0];
      }
      case REQUEST.write: {
        const part = this.#part(sector, chain.readBytes - HEAD_BYTES);
        if (part === undefined || this.#readOnly || this.failWith !== RESULT.ok) {
          return [this.failWith || RESULT.error, 0];
        }
        const data = new Uint8Array(part.length);
        if (!chain.read(HEAD_BYTES, data)) return [RESULT.error, 0];
        part.set(data);
        return [RESULT.ok, 0];
      }
      case REQUEST.flush:
        this.flushes++;
        return [RESULT.ok, 0];
      case REQUEST.id: {
        const id = new Uint8Array(Math.min(room, ID_BYTES));
        id.set(this.#serial.subarray(0, id.length));
        return chain.write(0, id) ? [RESULT.ok, id.length] : [RESULT.error, 0];
      }
      default:
        return [RESULT.unsupported, 0];
    }
  }

  /** Whole sectors inside the disk; undefined if a part is outside. */
  #part(sector: bigint, length: number): Uint8Array | undefined {
    const start = sector * BigInt(SECTOR);
    if (length % SECTOR !== 0 || start + BigInt(length) > BigInt(this.bytes.length)) return undefined;
    return this.bytes.subarray(Number(start), Number(start) + length);
  }
}
