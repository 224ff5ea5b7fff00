/** The memory that is linked into a range of reserved addresses, in the order of the offsets. */
import { checkSize, checkWhole, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import type { MappedView } from '../placement/mapped-view.ts';

export interface IovaLink {
  /** The offset in the range. */
  readonly offset: number;
  readonly size: number;
  /** The offsets of its first granule's start and of its last granule's end. */
  readonly from: number;
  readonly to: number;
  /** DEVICE_READS and DEVICE_WRITES. */
  readonly bits: number;
  readonly attributes: number;
  readonly placed: MappedView;
  synced: boolean;
}

/** The links in one range of reserved addresses. */
export class IovaLinks {
  /** Bytes of the range. */
  readonly #size: number;
  readonly #links: IovaLink[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  /** Bytes that are linked. */
  get bytes(): number {
    return this.#links.reduce((sum, { size }) => sum + size, 0);
  }

  get unsyncedBytes(): number {
    return this.#links.reduce((sum, { size, synced }) => (synced ? sum : sum + size), 0);
  }

  /** The link that holds this offset. */
  at(offset: number): IovaLink | undefined {
    return this.#links.find((link) => offset >= link.offset && offset < link.offset + link.size);
  }

  /** True if a granule of [from, to) is linked. */
  overlap(from: number, to: number): boolean {
    return this.#links.some((link) => from < link.to && link.from < to);
  }

  /** Add a link that overlaps no other. */
  insert(link: IovaLink): void {
    const links = this.#links;
    let at = links.length;
    while (at > 0 && links[at - 1]!.offset > link.offset) at--;
    links.splice(at, 0, link);
  }

  /** The links that have a byte in [offset, offset + size). @throws DmaError EINVAL if that is not in the range */
  touching(offset: number, size: number): readonly IovaLink[] {
    if (!isPart(offset, size, this.#size)) throw notLinked(offset, size);
    return this.#links.filter((link) => link.offset < offset + size && link.offset + link.size > offset);
  }

  /** The links that hold [offset, offset + size) without a gap. @throws DmaError EINVAL if there is a gap */
  covering(offset: number, size: number): readonly IovaLink[] {
    checkWhole(offset, 'the offset', 0, this.#size);
    checkSize(size, 'the number of bytes', this.#size);
    if (!isInside(offset, size, this.#size)) throw notLinked(offset, size);
    const inside = this.#links.filter(
      (link) => link.offset < offset + size && link.offset + link.size > offset,
    );
    let at = offset;
    for (const link of inside) {
      if (link.offset > at) throw notLinked(offset, size);
      at = link.offset + link.size;
    }
    if (at < offset + size) throw notLinked(offset, size);
    return inside;
  }

  /** Remove the links that make up [offset, offset + size). @throws DmaError EINVAL; nothing has changed then */
  remove(offset: number, size: number): readonly IovaLink[] {
    const links = this.covering(offset, size);
    const first = links[0]!;
    const last = links.at(-1)!;
    if (first.offset !== offset || last.offset + last.size !== offset + size) {
      throw new DmaError('EINVAL', `${size} bytes at offset ${offset} would cut a link in two`, {
        remedy: 'unlink what was linked, whole',
      });
    }
    return this.#links.splice(this.#links.indexOf(first), links.length);
  }

  removeAll(): readonly IovaLink[] {
    return this.#links.splice(0);
  }
}

/** True if [offset, offset + size) is part of `whole` bytes. The part may be empty. */
export function isPart(offset: number, size: number, whole: number): boolean {
  return size === 0 ? isInside(offset, 1, whole + 1) : isInside(offset, size, whole);
}

/** True if [offset, offset + size) is at least one byte of `whole` bytes. */
export function isInside(offset: number, size: number, whole: number): boolean {
  const integers = Number.isSafeInteger(offset) && Number.isSafeInteger(size);
  return integers && offset >= 0 && size > 0 && size <= whole - offset;
}

function notLinked(offset: number, size: number): DmaError {
  return new DmaError(
    'EINVAL',
    `not all of ${describe(size)} bytes at offset ${describe(offset)} are linked`,
    {
      remedy: 'pass a range that was linked',
    },
  );
}
