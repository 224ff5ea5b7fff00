/**
 * Which bounce slots are taken (the slot search of kernel/dma/swiotlb.c, in constant time).
 *
 *      slot number     | chunk | slot in chunk |        2 KiB each, chunks a power of two of slots
 *      a request    -> a run of a power of two of slots, aligned to itself
 *                   -> the stack of its class: what was freed last, still in the CPU's cache
 *                   -> the buddy (lib/iommu/buddy.ts) -> every stack spilled into the buddy, once more -> -1
 *
 * Runs aligned to themselves cross no boundary that is not smaller than they are, and a run of a page or more is
 * page-aligned, which are swiotlb's two rules.
 */
import { Buddy } from '../../iommu/buddy.ts';

/** IO_TLB_SHIFT. */
export const SLOT_SHIFT = 11;
/** Bytes of a slot (IO_TLB_SIZE). */
export const SLOT_SIZE = 1 << SLOT_SHIFT;

/** Runs that a stack holds. */
const DEPTH = 128;

export class BounceSlots {
  /** Slots taken now, in whole runs. */
  used = 0;
  /** Most that were ever taken at once. */
  peak = 0;

  private readonly chunkSlots: number;
  private readonly chunkShift: number;
  private readonly last: number;
  private readonly classes: number;
  private readonly buddy: Buddy;
  private readonly stacks: Int32Array;
  private readonly depths: Int32Array;
  /** At the first slot of a taken run: its class + 1. 0 elsewhere. */
  private readonly taken: Uint8Array;
  /** Per chunk: 1 when its slots may be handed out. */
  private readonly open: Uint8Array;

  /** @param chunks how many there will be at most; all closed @param chunkSlots slots of each, a power of two */
  constructor(chunks: number, chunkSlots: number) {
    this.chunkSlots = chunkSlots;
    this.chunkShift = Math.log2(chunkSlots);
    this.classes = 32 - Math.clz32(chunkSlots);
    this.last = chunks * chunkSlots - 1;
    this.buddy = new Buddy(Math.ceil(Math.log2(chunks * chunkSlots)));
    this.stacks = new Int32Array(this.classes * DEPTH);
    this.depths = new Int32Array(this.classes);
    this.taken = new Uint8Array(chunks * chunkSlots);
    this.open = new Uint8Array(chunks);
  }

  /** Class of a run that holds `bytes`: it has 2^class slots. */
  classOf(bytes: number): number {
    return bytes <= SLOT_SIZE ? 0 : 32 - Math.clz32((bytes - 1) >>> SLOT_SHIFT);
  }

  /** A run of 2^order slots that was a run of this class before, the one given back last; -1 when there is none. */
  take(order: number): number {
    const depth = this.depths[order]! - 1;
    if (depth < 0) return -1;
    this.depths[order] = depth;
    const slot = this.stacks[order * DEPTH + depth]!;
    this.hold(slot, order);
    return slot;
  }

  /** A run from what was never handed out, or was split differently before; -1 when there is none. */
  takeFresh(order: number): number {
    let slot = this.buddy.take(order, 1 << order, this.buddy.last);
    if (slot < 0 && this.spill()) slot = this.buddy.take(order, 1 << order, this.buddy.last);
    if (slot >= 0) this.hold(slot, order);
    return slot;
  }

  /** Slots of the run that starts at `slot`. */
  runOf(slot: number): number {
    return 1 << (this.taken[slot]! - 1);
  }

  /** Give a run back by its first slot. */
  give(slot: number): void {
    const order = this.taken[slot]! - 1;
    this.taken[slot] = 0;
    this.used -= 1 << order;
    if (this.open[slot >>> this.chunkShift] === 0) return;
    const depth = this.depths[order]!;
    if (depth === DEPTH) {
      this.buddy.give(order, slot);
      return;
    }
    this.stacks[order * DEPTH + depth] = slot;
    this.depths[order] = depth + 1;
  }

  /** Hand out the slots of a chunk from now on, except for those still taken. */
  openChunk(chunk: number): void {
    if (this.open[chunk] === 1) return;
    this.open[chunk] = 1;
    this.eachFree(chunk, (slot) => this.buddy.give(0, slot));
  }

  /** Hand them out no more; runs that are taken stay valid. */
  closeChunk(chunk: number): void {
    if (this.open[chunk] === 0) return;
    this.spill();
    this.eachFree(chunk, (slot) => this.buddy.claim(slot, 1));
    this.open[chunk] = 0;
  }

  /** A closed chunk of which nothing is taken; -1 when there is none. */
  unusedChunk(): number {
    return this.open.findIndex((open, chunk) => {
      const first = chunk * this.chunkSlots;
      return open === 0 && !this.taken.subarray(first, first + this.chunkSlots).some((one) => one !== 0);
    });
  }

  private hold(slot: number, order: number): void {
    this.taken[slot] = order + 1;
    this.used += 1 << order;
    if (this.used > this.peak) this.peak = this.used;
  }

  /** What the stacks hold goes back to the buddy, where it can merge; false when they hold nothing. */
  private spill(): boolean {
    let any = false;
    for (let order = 0; order < this.classes; order++) {
      for (let i = 0; i < this.depths[order]!; i++) {
        this.buddy.give(order, this.stacks[order * DEPTH + i]!);
        any = true;
      }
      this.depths[order] = 0;
    }
    return any;
  }

  private eachFree(chunk: number, visit: (slot: number) => void): void {
    const first = chunk * this.chunkSlots;
    const end = Math.min(first + this.chunkSlots, this.last + 1);
    for (let slot = first; slot < end; ) {
      const order = this.taken[slot]! - 1;
      if (order < 0) visit(slot);
      slot += order < 0 ? 1 : 1 << order;
    }
  }
}
