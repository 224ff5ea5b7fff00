/**
 * One view, mapped in place at addresses that its caller has reserved. An IOMMU maps whole granules only. The
 * library's own memory shares its granules with no other bytes. The first and the last granule of foreign memory may
 * hold other bytes of the program, which the device must not reach. These two go through bounce pages with zeros
 * around the caller's bytes, as dma_iova_link does for a device that is not trusted.
 *
 *      caller's memory   ....xx|xxxxxxxx|xxxxxxxx|xxx.....       x: mapped, . : other bytes of the program
 *                          |       |        |      |
 *      device's view     0000xx|xxxxxxxx|xxxxxxxx|xxx00000
 *                        bounce    in place        bounce
 */

import type { CacheMaintenance } from '../../cache.ts';
import { DEVICE_READS, DEVICE_WRITES, directionOf } from '../../direction.ts';
import { accessFor } from '../../iommu/access.ts';
import type { BounceBuffer } from '../bounce/bounce.ts';
import type { DmaOperations } from '../operations/operations.ts';
import { DMA_ATTR } from '../words/attributes.ts';

/** Dependencies of an in-place mapping. */
export interface PinningContext {
  readonly operations: DmaOperations;
  readonly bounce: BounceBuffer;
  /** The cache maintenance. It is undefined on a coherent device. */
  readonly cache: CacheMaintenance | undefined;
}

/** Bytes [start, end) of the memory, and the place where the device finds them. */
interface Piece {
  readonly start: number;
  readonly end: number;
  /** The first slot of the bounce page. It is -1 if the bytes are in place. */
  readonly slot: number;
  readonly buffer: ArrayBufferLike;
  /** The offset of the first byte in `buffer`. */
  readonly at: number;
}

/** A view that is mapped at addresses that its caller has reserved. */
export class MappedView {
  /** Device address of the first byte. */
  readonly address: number;

  readonly #pinning: PinningContext;
  readonly #source: Uint8Array;
  /** Bytes of the view when it was mapped. The source has none once it is detached. */
  readonly #size: number;
  readonly #bits: number;
  /** The offset of the first byte in its granule. */
  readonly #at: number;
  readonly #span: number;
  readonly #pieces: Piece[] = [];

  /**
   * @param start the device address of the first granule
   * @param at the offset of the first byte in it
   * @param bits DEVICE_READS and DEVICE_WRITES
   * @param edges true if partial granules go through bounce pages
   * @throws DmaError ENOMEM no bounce page, or the limit of locked memory · ENOSPC · EFAULT · ENODEV; nothing is left
   *   behind
   */
  constructor(
    pinning: PinningContext,
    source: Uint8Array,
    start: number,
    at: number,
    bits: number,
    edges: boolean,
  ) {
    const { granule } = pinning.operations;
    this.#pinning = pinning;
    this.#source = source;
    this.#size = source.length;
    this.#bits = bits;
    this.#at = at;
    this.#span = Math.ceil((at + source.length) / granule) * granule;
    this.address = start + at;
    try {
      if (edges) this.#placeWithEdges();
      else this.#placeWhole();
    } catch (error) {
      pinning.operations.unmap(start, this.#span);
      this.#giveSlots();
      throw error;
    }
  }

  /** Bytes of the view when it was mapped. The source has none once it is detached. */
  get size(): number {
    return this.#size;
  }

  /** True if some of the bytes are copied. */
  get hasEdges(): boolean {
    return this.#pieces.some(({ slot }) => slot >= 0);
  }

  /** Let the caller read the device's writes to [offset, offset + size). False if the caller's buffer was detached. */
  syncForCpu(offset: number, size: number): boolean {
    const { bounce, cache } = this.#pinning;
    let intact = true;
    for (const { start, end, slot, buffer, at } of this.#pieces) {
      const from = Math.max(offset, start);
      const bytes = Math.min(offset + size, end) - from;
      if (bytes <= 0) continue;
      cache?.syncForCpu(buffer, at + from - start, bytes, directionOf(this.#bits));
      if (slot < 0 || (this.#bits & DEVICE_WRITES) === 0) continue;
      if (this.#source.length !== this.#size) intact = false;
      else bounce.copyOutPart(slot, at - bounce.arenaOffset(slot) + from - start, bytes, this.#source, from);
    }
    return intact;
  }

  /** Let the device read the caller's writes to [offset, offset + size). False if the caller's buffer was detached. */
  syncForDevice(offset: number, size: number): boolean {
    let intact = true;
    if ((this.#bits & DEVICE_READS) !== 0) {
      for (const piece of this.#pieces) {
        const from = Math.max(offset, piece.start);
        const to = Math.min(offset + size, piece.end);
        if (piece.slot < 0 || from >= to) continue;
        if (this.#source.length !== this.#size) intact = false;
        else this.#copyIn(piece, from, to);
      }
    }
    this.clean(offset, size);
    return intact;
  }

  /** Write back the caches of [offset, offset + size), in the memory and in bounce pages. Nothing is copied. */
  clean(offset: number, size: number): void {
    const { cache } = this.#pinning;
    if (cache === undefined) return;
    for (const { start, end, buffer, at } of this.#pieces) {
      const from = Math.max(offset, start);
      const bytes = Math.min(offset + size, end) - from;
      if (bytes > 0) cache.syncForDevice(buffer, at + from - start, bytes, directionOf(this.#bits));
    }
  }

  /**
   * Unmap the memory, then copy out the device's writes unless the attributes forbid it. In this order no write of
   * the device is lost. The addresses stay reserved. False if the caller's buffer was detached.
   */
  finish(attributes: number): boolean {
    this.#pinning.operations.unmap(this.address - this.#at, this.#span);
    const intact = (attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0 || this.syncForCpu(0, this.#size);
    this.#giveSlots();
    return intact;
  }

  #giveSlots(): void {
    for (const { slot } of this.#pieces) if (slot >= 0) this.#pinning.bounce.giveSoiled(slot);
    this.#pieces.length = 0;
  }

  #placeWhole(): void {
    const { buffer, byteOffset } = this.#source;
    const at = this.#at;
    const access = accessFor(this.#bits);
    this.#pinning.operations.map(this.address - at, buffer, byteOffset - at, this.#span, access);
    this.#pieces.push({ start: 0, end: this.#size, slot: -1, buffer, at: byteOffset });
  }

  #placeWithEdges(): void {
    const { operations } = this.#pinning;
    const { granule } = operations;
    const size = this.#size;
    const at = this.#at;
    // A view of less than a page is one edge.
    const head = at === 0 ? 0 : Math.min(granule - at, size);
    const tail = (size - head) % granule;
    const tailStart = size - tail;
    if (head > 0) this.#placeEdge(at, 0, head);
    if (tailStart > head) {
      const { buffer, byteOffset } = this.#source;
      const from = byteOffset + head;
      operations.map(this.address + head, buffer, from, tailStart - head, accessFor(this.#bits));
      this.#pieces.push({ start: head, end: tailStart, slot: -1, buffer, at: from });
    }
    if (tail > 0) this.#placeEdge(0, tailStart, size);
  }

  /** Place bytes [start, end) of the memory `at` bytes into a bounce page. */
  #placeEdge(at: number, start: number, end: number): void {
    const { operations, bounce } = this.#pinning;
    const { granule } = operations;
    const slot = bounce.take(end - start, at, granule);
    const { buffer } = bounce.arena(slot);
    const page = bounce.arenaOffset(slot);
    const piece: Piece = { start, end, slot, buffer, at: page + at };
    this.#pieces.push(piece);
    this.#copyIn(piece, start, end);
    operations.map(this.address + start - at, buffer, page, granule, accessFor(this.#bits));
  }

  #copyIn({ slot, start, at }: Piece, from: number, to: number): void {
    const { bounce } = this.#pinning;
    bounce.copyIn(slot, at - bounce.arenaOffset(slot) + from - start, this.#source.subarray(from, to));
  }
}
