/** Where the blocks of one pool lie: in which of its pages, counted as they appear, and at which offset. */
export class PoolPlaces {
  readonly #stride: bigint;
  readonly #pages = new Map<bigint, number>();

  /** @param size bytes of a block as the driver asked for it, at least 16 @param align a power of two */
  constructor(size: number, align: number) {
    const rounded = Math.ceil(size / align) * align;
    this.#stride = 2n ** BigInt(Math.ceil(Math.log2(Math.max(rounded, 4096))));
  }

  placeOf(address: bigint): string {
    const page = address / this.#stride;
    const number = this.#pages.get(page) ?? this.#pages.size;
    this.#pages.set(page, number);
    return `page ${number} offset ${address % this.#stride}`;
  }
}
