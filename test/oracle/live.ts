/** What a sequence takes to be alive, in the slots of one kind. */

import type { Random } from '../random.ts';
import type { Part } from './protocol.ts';

export interface LiveSlot {
  readonly slot: number;
  readonly dir: number;
  readonly attrs: number;
  readonly parts: readonly Part[];
  /** True if the device has written. */
  written: boolean;
}

export class Live {
  readonly #slots = new Map<number, LiveSlot>();
  readonly #first: number;
  readonly #count: number;

  constructor(first: number, count: number) {
    this.#first = first;
    this.#count = count;
  }

  static meet(one: Part, other: Part): boolean {
    if (one.buffer !== other.buffer) return false;
    return one.offset < other.offset + other.size && other.offset < one.offset + one.size;
  }

  get slots(): Iterable<number> {
    return this.#slots.keys();
  }

  /** A slot that is not in use, or undefined. */
  free(random: Random): number | undefined {
    const slot = this.#first + random.below(this.#count);
    return this.#slots.has(slot) ? undefined : slot;
  }

  /** A slot that is in use, or undefined. */
  any(random: Random): number | undefined {
    return this.#slots.size === 0 ? undefined : random.pick([...this.#slots.keys()]);
  }

  add(live: LiveSlot): void {
    this.#slots.set(live.slot, live);
  }

  remove(slot: number): void {
    this.#slots.delete(slot);
  }

  get(slot: number): LiveSlot & { readonly size: number } {
    const live = this.#slots.get(slot)!;
    return { ...live, size: live.parts.reduce((sum, part) => sum + part.size, 0) };
  }

  write(slot: number): void {
    this.#slots.get(slot)!.written = true;
  }

  overlaps(part: Part): boolean {
    for (const { parts } of this.#slots.values()) {
      if (parts.some((other) => Live.meet(part, other))) return true;
    }
    return false;
  }
}
