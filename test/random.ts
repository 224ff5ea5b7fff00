/** Random numbers, bytes and ways to cut a disk into pieces, all of them from one seed. */
import { createCipheriv, createHash, randomInt } from 'node:crypto';

/** A run of blocks. */
export interface Extent {
  readonly lba: number;
  readonly blocks: number;
}

export class Random {
  readonly seed: number;
  #state: number;

  /** @param seed default: USERDMA_TEST_SEED, or another one each time */
  constructor(seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31))) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `limit` - 1 (mulberry32). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  /** A whole number, both ends inclusive. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  chance(probability: number): boolean {
    return this.below(1_000_000) < probability * 1_000_000;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  bytes(length: number): Buffer {
    const key = createHash('sha256')
      .update(`${this.seed} ${this.below(2 ** 32)}`)
      .digest();
    return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
  }

  /** A size of 1 to `most`, each power of two as likely as the others. */
  size(most: number): number {
    const whole = 2 ** this.below(Math.log2(most) + 1);
    return Math.min(most, whole + this.below(whole));
  }

  /** All of `blocks` blocks, in pieces of 1 to `most`, in no order. */
  extents(blocks: number, most: number): Extent[] {
    const extents: Extent[] = [];
    for (let lba = 0; lba < blocks; ) {
      const length = Math.min(this.size(most), blocks - lba);
      extents.push({ lba, blocks: length });
      lba += length;
    }
    for (let i = extents.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [extents[i], extents[j]] = [extents[j]!, extents[i]!];
    }
    return extents;
  }

  /** A view of `length` bytes somewhere in a buffer of its own, mostly not aligned to anything. */
  unaligned(length: number): Buffer {
    const offset = this.below(4) === 0 ? 0 : this.below(4096);
    return Buffer.from(new ArrayBuffer(offset + length), offset, length);
  }
}

/** Do `work` for each item, `width` at a time. */
export async function eachOf<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
