/**
 * A namespace: blocks that take memory only after their first write.
 *
 *      page of 4 KiB    a view, made at its first write; a page without a view reads as zeros
 *      slab of 2 MiB    an array buffer, made at the first write to it; the system gives it memory page by page
 */
import { checkBytes, checkedLater, checkOptions, checkWhole, describe, oneOf } from '../../../arguments.ts';
import { DmaError } from '../../../errors.ts';
import { PageTable } from '../../../iommu/page-table.ts';

export const MEDIA_PAGE = 4096;
/**
 * One buffer holds many pages. With a buffer for each page, a read of 4 KiB would take a third longer, because of
 * cache misses.
 */
const SLAB = 2 ** 21;
const DEFAULT_CAPACITY = 128 * 2 ** 20;
const LARGEST = 2 ** 52;

/** The contents of a page that was never written. It is never changed. */
const ZEROS = new Uint8Array(MEDIA_PAGE);

/** Options of a namespace. */
export interface NvmeNamespaceOptions {
  /** Bytes, a multiple of 4096. Default 128 MiB. Only written pages take memory. */
  readonly capacity?: number;
  /** Bytes of a logical block: 512 or 4096. Default 512. */
  readonly blockSize?: 512 | 4096;
}

/** A namespace: the blocks of a simulated disk. */
export class NvmeNamespace {
  /** The namespace identifier; 1 for the first. */
  readonly nsid: number;
  readonly capacity: number;
  readonly blockSize: number;
  /** The number of logical blocks. */
  readonly blocks: number;
  readonly #pages = new PageTable<Uint8Array>(MEDIA_PAGE);
  readonly #slabs = new Map<number, ArrayBuffer>();
  #allocated = 0;

  /** @throws DmaError EINVAL capacity or block size */
  constructor(nsid: number, options: NvmeNamespaceOptions = {}) {
    checkWhole(nsid, 'the number of a namespace', 1, 0xffff_fffe);
    checkOptions<NvmeNamespaceOptions>(options, 'a namespace', {
      capacity: checkedLater,
      blockSize: oneOf(512, 4096),
    });
    const { capacity = DEFAULT_CAPACITY, blockSize = 512 } = options;
    if (!(Number.isInteger(capacity) && capacity > 0 && capacity % MEDIA_PAGE === 0 && capacity <= LARGEST)) {
      throw new DmaError('EINVAL', `a namespace of ${describe(capacity)} bytes`, {
        remedy: `pass a multiple of ${MEDIA_PAGE} up to 2^52`,
      });
    }
    this.nsid = nsid;
    this.capacity = capacity;
    this.blockSize = blockSize;
    this.blocks = capacity / blockSize;
  }

  /** Bytes of the pages that were written, and not zeroed since. */
  get allocated(): number {
    return this.#allocated;
  }

  /** A copy of bytes [offset, offset + size), as a driver would read them. @throws DmaError EINVAL not inside */
  read(offset: number, size: number): Uint8Array {
    this.#checkInside(offset, size);
    const into = new Uint8Array(size);
    for (let done = 0; done < size; ) {
      const inPage = (offset + done) % MEDIA_PAGE;
      const piece = Math.min(size - done, MEDIA_PAGE - inPage);
      into.set(this.page(offset + done).subarray(inPage, inPage + piece), done);
      done += piece;
    }
    return into;
  }

  /** Change bytes from `offset` on, as a driver would write them. @throws DmaError EINVAL not inside */
  write(offset: number, from: Uint8Array): void {
    checkBytes(from, 'the bytes to write');
    this.#checkInside(offset, from.length);
    for (let done = 0; done < from.length; ) {
      const inPage = (offset + done) % MEDIA_PAGE;
      const piece = Math.min(from.length - done, MEDIA_PAGE - inPage);
      this.pageToWrite(offset + done).set(from.subarray(done, done + piece), inPage);
      done += piece;
    }
  }

  /** The page that holds byte `offset`, for reading. */
  page(offset: number): Uint8Array {
    return this.#pages.get(offset) ?? ZEROS;
  }

  /** The page that holds byte `offset`, for writing. */
  pageToWrite(offset: number): Uint8Array {
    const found = this.#pages.get(offset);
    if (found !== undefined) return found;
    const inSlab = offset % SLAB;
    const inPage = offset % MEDIA_PAGE;
    const page = new Uint8Array(this.#slab(offset - inSlab), inSlab - inPage, MEDIA_PAGE);
    this.#pages.set(offset - inPage, MEDIA_PAGE, page);
    this.#allocated += MEDIA_PAGE;
    return page;
  }

  /** Make bytes [offset, offset + size) zeros. */
  zero(offset: number, size: number): void {
    for (let at = offset; at < offset + size; ) {
      if (!this.#slabs.has(at - (at % SLAB))) {
        at += SLAB - (at % SLAB);
        continue;
      }
      const inPage = at % MEDIA_PAGE;
      const piece = Math.min(offset + size - at, MEDIA_PAGE - inPage);
      const page = this.#pages.get(at);
      page?.fill(0, inPage, inPage + piece);
      if (page !== undefined && piece === MEDIA_PAGE) {
        this.#pages.clear(at, MEDIA_PAGE);
        this.#allocated -= MEDIA_PAGE;
      }
      at += piece;
    }
  }

  #checkInside(offset: number, size: number): void {
    checkWhole(offset, 'the offset in the namespace', 0, this.capacity);
    checkWhole(size, 'the number of bytes', 0, this.capacity - offset);
  }

  #slab(start: number): ArrayBuffer {
    let slab = this.#slabs.get(start);
    if (slab === undefined) {
      slab = new ArrayBuffer(SLAB);
      this.#slabs.set(start, slab);
    }
    return slab;
  }
}
