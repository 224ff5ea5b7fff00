/**
 * A chunk of the bounce buffer: memory that the device reaches at one address, cut into slots. The number of slots is
 * a power of two, and the chunk is aligned to its own size for the device. The same holds for the runs of slots that
 * are allocated from it.
 */
import type { DeviceRange } from '../operations/device-range.ts';
import { SLOT_SHIFT } from './slots.ts';

/** One chunk of the bounce buffer. */
export class BounceChunk {
  /** Its first slot. */
  readonly first: number;
  /** The chunk has 2^order slots. */
  readonly order: number;
  readonly allocation: DeviceRange;
  readonly arena: Uint8Array;
  /** Device address of the first slot. */
  readonly address: number;

  /**
   * For the first slot of each run: the view that was last copied out whole, and the one that was copied out in part.
   */
  private readonly wholes: (Uint8Array | undefined)[];
  private readonly parts: (Uint8Array | undefined)[];
  private readonly wholeAt: Int32Array;
  private readonly partAt: Int32Array;

  constructor(first: number, order: number, allocation: DeviceRange) {
    const slots = 1 << order;
    this.first = first;
    this.order = order;
    this.allocation = allocation;
    this.arena = new Uint8Array(allocation.buffers[0]!);
    this.address = allocation.address;
    this.wholes = new Array<Uint8Array | undefined>(slots).fill(undefined);
    this.parts = new Array<Uint8Array | undefined>(slots).fill(undefined);
    this.wholeAt = new Int32Array(slots);
    this.partAt = new Int32Array(slots);
  }

  /** Bytes of the chunk. */
  get size(): number {
    return 2 ** (this.order + SLOT_SHIFT);
  }

  /** The offset in the arena at which a slot starts. */
  offset(slot: number): number {
    return (slot - this.first) << SLOT_SHIFT;
  }

  /** Device address of the first byte of a slot. */
  addressOf(slot: number): number {
    return this.address + this.offset(slot);
  }

  /** Copy all bytes of `source` to byte `at` of a run. */
  copyIn(slot: number, at: number, source: Uint8Array): void {
    this.arena.set(source, this.offset(slot) + at);
  }

  /**
   * The `size` bytes at byte `at` of a run, all of a mapping. The view is kept for the next time, because making one
   * costs more than a copy.
   */
  whole(slot: number, at: number, size: number): Uint8Array {
    const index = slot - this.first;
    const kept = this.wholes[index];
    if (kept !== undefined && kept.length === size && this.wholeAt[index] === at) return kept;
    const view = this.view(slot, at, size);
    this.wholes[index] = view;
    this.wholeAt[index] = at;
    return view;
  }

  /** As `whole`, for a part of a mapping. */
  part(slot: number, at: number, size: number): Uint8Array {
    const index = slot - this.first;
    const kept = this.parts[index];
    if (kept !== undefined && kept.length === size && this.partAt[index] === at) return kept;
    const view = this.view(slot, at, size);
    this.parts[index] = view;
    this.partAt[index] = at;
    return view;
  }

  private view(slot: number, at: number, size: number): Uint8Array {
    const offset = this.offset(slot) + at;
    return this.arena.subarray(offset, offset + size);
  }
}
