/**
 * The ArrayBuffers of free runs of one region. Making one for a run costs more than the rest of an allocation. So the
 * memory of a freed buffer moves to a new one, which rests here until the same run is allocated with the same size.
 *
 *      page of the run  ->  slot (page % SLOTS)  ->  the ArrayBuffer that was freed last
 *
 * Nobody else has a buffer that rests here, and none is handed out twice.
 */
import type { RegionFunctions } from '../native/addon.ts';
import { detach } from './detach.ts';

/** A power of two. Each slot can hold about half a KiB of objects of Node.js. */
const SLOTS = 64;

/** The resting ArrayBuffers of one region. */
export class RestingBuffers {
  readonly #addon: Pick<RegionFunctions, 'detach'>;
  readonly #pages: number[] = [];
  readonly #buffers: (ArrayBuffer | undefined)[] = [];

  constructor(addon: Pick<RegionFunctions, 'detach'>) {
    this.#addon = addon;
    for (let slot = 0; slot < SLOTS; slot++) {
      this.#pages.push(-1);
      this.#buffers.push(undefined);
    }
  }

  /** Keeps the buffer of the run that starts at `page`, in the place of one that rests longer. */
  put(page: number, buffer: ArrayBuffer): void {
    const slot = page & (SLOTS - 1);
    this.#drop(slot);
    this.#pages[slot] = page;
    this.#buffers[slot] = buffer;
  }

  /** The buffer of `size` bytes of the run that starts at `page`; it rests here no more. Undefined if there is none. */
  take(page: number, size: number): ArrayBuffer | undefined {
    const slot = page & (SLOTS - 1);
    const buffer = this.#buffers[slot];
    if (buffer === undefined || this.#pages[slot] !== page) return undefined;
    if (buffer.byteLength === size) {
      this.#buffers[slot] = undefined;
      return buffer;
    }
    this.#drop(slot);
    return undefined;
  }

  /** The region ends: its memory is not to wait for a collection of garbage. */
  clear(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.#drop(slot);
  }

  #drop(slot: number): void {
    const buffer = this.#buffers[slot];
    if (buffer === undefined) return;
    this.#buffers[slot] = undefined;
    detach(this.#addon, buffer);
  }
}
