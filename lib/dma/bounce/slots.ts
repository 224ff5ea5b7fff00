/**
 * The bounce slots in use and free (the slot search of kernel/dma/swiotlb.c, in constant time).
 *
 *      slot numbers    [ chunk of 4 |  no memory yet  | chunk of 8        ]    2 KiB each
 *      a request    -> a run of a power of two of slots, aligned to itself
 *                   -> the stack of its class: the run freed last, still in the CPU's cache
 *                   -> the buddy (lib/iommu/buddy.ts) -> every stack spilled into the buddy, once more -> -1
 *
 * A run that is aligned to itself crosses no boundary that is at least as long as the run. A run of a page or more is
 * page-aligned. These are swiotlb's two rules. Slot numbers with memory behind them belong to a chunk. A chunk is a
 * power of two of numbers, aligned to itself too. Free runs never merge beyond their chunk, because the memory does
 * not continue there.
 */
import { Buddy } from '../../iommu/buddy.ts';

/** IO_TLB_SHIFT. */
export const SLOT_SHIFT = 11;
/** Bytes of a slot (IO_TLB_SIZE). */
export const SLOT_SIZE = 1 << SLOT_SHIFT;

/** The number of runs that a stack holds. */
const DEPTH = 128;

/** The slot numbers of a bounce buffer, free and in use. */
export class BounceSlots {
  /** The number of slots in use now, in whole runs. */
  used = 0;
  /** The most slots that were ever in use at once. */
  peak = 0;
  /** The most slots that there may be. */
  readonly total: number;

  private readonly classes: number;
  /** The slot numbers that no chunk has. */
  private readonly room: Buddy;
  /** The free slots of open chunks that are in no stack. */
  private readonly buddy: Buddy;
  private readonly stacks: Int32Array;
  private readonly depths: Int32Array;
  /** At the first slot of a run in use: its class + 1. It is 0 elsewhere. */
  private readonly taken: Uint8Array;
  /** For each slot: the order of its chunk + 1 while the slot may be allocated. It is 0 elsewhere. */
  private readonly open: Uint8Array;

  /** @param total the most slots that there may be; none of them has memory yet */
  constructor(total: number) {
    this.total = total;
    this.classes = 32 - Math.clz32(total);
    const top = Math.ceil(Math.log2(total));
    this.room = new Buddy(top);
    this.room.open(0, total);
    this.buddy = new Buddy(top);
    this.stacks = new Int32Array(this.classes * DEPTH);
    this.depths = new Int32Array(this.classes);
    this.taken = new Uint8Array(total);
    this.open = new Uint8Array(total);
  }

  /** The class of a run that holds `bytes`: the run has 2^class slots. */
  classOf(bytes: number): number {
    return bytes <= SLOT_SIZE ? 0 : 32 - Math.clz32((bytes - 1) >>> SLOT_SHIFT);
  }

  /** Take a run of 2^order slots that was a run of this class before: the one freed last. It is -1 if there is none. */
  take(order: number): number {
    const depth = this.depths[order]! - 1;
    // This also covers an order for which there is no class.
    if (!(depth >= 0)) return -1;
    this.depths[order] = depth;
    const slot = this.stacks[order * DEPTH + depth]!;
    this.hold(slot, order);
    return slot;
  }

  /** Take a run that was never in use, or that the buddy splits from a larger one. It is -1 if there is none. */
  takeFresh(order: number): number {
    if (order >= this.classes) return -1;
    let slot = this.buddy.take(order, 1 << order, this.buddy.last);
    if (slot < 0 && this.spill()) slot = this.buddy.take(order, 1 << order, this.buddy.last);
    if (slot >= 0) this.hold(slot, order);
    return slot;
  }

  /** The number of slots of the run that starts at `slot`. */
  runOf(slot: number): number {
    return 1 << (this.taken[slot]! - 1);
  }

  /** Free a run by its first slot. */
  give(slot: number): void {
    const order = this.taken[slot]! - 1;
    this.taken[slot] = 0;
    this.used -= 1 << order;
    const chunk = this.open[slot]! - 1;
    if (chunk < 0) return;
    const depth = this.depths[order]!;
    if (depth === DEPTH) {
      this.buddy.give(order, slot, chunk);
      return;
    }
    this.stacks[order * DEPTH + depth] = slot;
    this.depths[order] = depth + 1;
  }

  /** Take 2^order slot numbers for a chunk, aligned to that number. It is -1 if there are none. */
  takeRoom(order: number): number {
    return order >= this.classes ? -1 : this.room.take(order, 1 << order, this.room.last);
  }

  /** Free the numbers of a chunk whose memory was freed, or could not be allocated. */
  giveRoom(first: number, order: number): void {
    this.room.give(order, first);
  }

  /** Allocate the slots of a chunk from now on, except for those still in use. */
  openChunk(first: number, order: number): void {
    if (this.open[first] !== 0) return;
    this.open.fill(order + 1, first, first + (1 << order));
    this.eachFree(first, order, (slot, size) => this.buddy.give(size, slot, order));
  }

  /** Stop allocating the slots of a chunk. Its runs in use stay valid. */
  closeChunk(first: number, order: number): void {
    if (this.open[first] === 0) return;
    this.spill();
    this.eachFree(first, order, (slot, size) => this.buddy.claim(slot, 1 << size));
    this.open.fill(0, first, first + (1 << order));
  }

  /** True if none of the chunk's slots is in use. */
  isUnused(first: number, order: number): boolean {
    return this.taken.subarray(first, first + (1 << order)).every((one) => one === 0);
  }

  private hold(slot: number, order: number): void {
    this.taken[slot] = order + 1;
    this.used += 1 << order;
    if (this.used > this.peak) this.peak = this.used;
  }

  /** Return the runs on the stacks to the buddy, which merges them. False if the stacks are empty. */
  private spill(): boolean {
    let any = false;
    for (let order = 0; order < this.classes; order++) {
      for (let i = 0; i < this.depths[order]!; i++) {
        const slot = this.stacks[order * DEPTH + i]!;
        this.buddy.give(order, slot, this.open[slot]! - 1);
        any = true;
      }
      this.depths[order] = 0;
    }
    return any;
  }

  /** Visit each free slot of a chunk, or the whole chunk at once if none of its slots is in use. */
  private eachFree(first: number, order: number, visit: (slot: number, order: number) => void): void {
    if (this.isUnused(first, order)) {
      visit(first, order);
      return;
    }
    for (let slot = first; slot < first + (1 << order); ) {
      const run = this.taken[slot]! - 1;
      if (run < 0) visit(slot, 0);
      slot += run < 0 ? 1 : 1 << run;
    }
  }
}
