/**
 * One field of all elements of a descriptor ring. Each access is one store or load of the field's width in plain
 * memory. It computes the place from an index and two constants, and makes no view and no garbage.
 *
 * V8 may merge or drop plain loads, as any load of memory. For a field that the *device* writes while the CPU polls
 * it, use `load`. V8 neither merges nor drops it, and keeps later loads behind it (dma_rmb). When it shows that the
 * CPU owns the descriptor, read the other fields by plain loads.
 */

import { argumentError, describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { lookAt, type ReadObserver, readObserver } from '../looks.ts';
import { dmaRmb, dmaWmb, KEEPS_ORDER } from './barriers.ts';

/**
 * A field of 8, 16 or 32 bits. Every method throws DmaError EINVAL for an element that does not exist, or was freed.
 */
export interface Column {
  /** The field of an element, by a plain load. */
  get(element: number): number;
  /** Keeps the low bits of `value` that fit, like an assignment in C. */
  set(element: number, value: number): void;
  /**
   * As `get`, but one whole load, before every later load (smp_load_acquire, dma_rmb). Use it for a field that the
   * device writes.
   */
  load(element: number): number;
  /**
   * As `set`, but one whole store, after every earlier store (dma_wmb, smp_store_release). Use it for a field that
   * the device waits for.
   */
  store(element: number, value: number): void;
}

/**
 * A field of 64 bits, stored as two of 32. It is written and read in halves. That is safe before the device is told
 * of it.
 */
export interface WideColumn {
  /** The field of an element, by plain loads. */
  get(element: number): bigint;
  /** Stores the field of an element; bits beyond 64 are dropped. */
  set(element: number, value: bigint): void;
  /** Bits 0 to 31, and 32 to 63: without a bigint, in the form that handles have for an address. */
  setParts(element: number, low: number, high: number): void;
  /** The lower 32 bits of the field. */
  low(element: number): number;
  /** The upper 32 bits of the field. */
  high(element: number): number;
}

/** The place of the elements: `bytes` has whole elements of `size` bytes, and the field is at `offset` in each. */
export interface Placement {
  readonly bytes: Uint8Array;
  readonly size: number;
  readonly offset: number;
}

/** A column of one width, with the place of an element in words. */
interface WordColumn extends Column {
  index(element: number): number;
}

interface ColumnClass {
  new (placement: Placement): WordColumn;
}

/**
 * One class for each width, so that V8 knows the element type of each store. Fields are declared, not defined. A
 * definition would store undefined first, and V8 would then check every value that it loads from the field. Either of
 * the two would cost twice as much as the rest of an access.
 */
function columnClass(Words: typeof Uint8Array | typeof Uint16Array | typeof Uint32Array): ColumnClass {
  const width = Words.BYTES_PER_ELEMENT;
  return class implements WordColumn {
    declare readonly words: Uint8Array | Uint16Array | Uint32Array;
    declare readonly stride: number;
    declare readonly at: number;

    constructor({ bytes, size, offset }: Placement) {
      this.words = new Words(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length / width);
      this.stride = size / width;
      this.at = offset / width;
    }

    get(element: number): number {
      return this.words[this.index(element)]!;
    }

    set(element: number, value: number): void {
      if (typeof value !== 'number') throw noNumber(value);
      this.words[this.index(element)] = value;
    }

    load(element: number): number {
      const value = Atomics.load(this.words, this.index(element));
      if (!KEEPS_ORDER) dmaRmb();
      return value;
    }

    store(element: number, value: number): void {
      if (typeof value !== 'number') throw noNumber(value);
      const index = this.index(element);
      if (!KEEPS_ORDER) dmaWmb();
      Atomics.store(this.words, index, value);
    }

    index(element: number): number {
      if (typeof element !== 'number') throw noElement(element);
      const index = element * this.stride + this.at;
      // The length of freed memory is 0.
      if (element >>> 0 !== element || index >= this.words.length) throw noElement(element);
      return index;
    }
  };
}

/** Fields in the byte order of this processor, by width. */
const NATIVE_COLUMN = {
  1: columnClass(Uint8Array),
  2: columnClass(Uint16Array),
  4: columnClass(Uint32Array),
} as const;

/** This is a class of its own, so that accesses to real memory need no check for observers. */
function polledClass(Native: ColumnClass): ColumnClass {
  return class extends Native {
    declare readonly look: () => void;

    constructor(placement: Placement) {
      super(placement);
      this.look = lookAt(placement.bytes.buffer)!;
    }

    override load(element: number): number {
      this.look();
      return super.load(element);
    }
  };
}

/** The columns for memory that a simulated device writes: a look at it takes simulated time. */
const POLLED_COLUMN = {
  1: polledClass(NATIVE_COLUMN[1]),
  2: polledClass(NATIVE_COLUMN[2]),
  4: polledClass(NATIVE_COLUMN[4]),
} as const;

/** A class of its own, so that only memory which dma-debug watches byte by byte pays for it. */
function observedClass(Polled: ColumnClass, width: number): ColumnClass {
  return class extends Polled {
    declare readonly read: ReadObserver;
    declare readonly start: number;

    constructor(placement: Placement) {
      super(placement);
      this.read = readObserver(placement.bytes.buffer)!;
      this.start = placement.bytes.byteOffset;
    }

    override get(element: number): number {
      const value = super.get(element);
      this.read(this.start + this.index(element) * width, width);
      return value;
    }

    override load(element: number): number {
      const value = super.load(element);
      this.read(this.start + this.index(element) * width, width);
      return value;
    }
  };
}

/** The same over memory whose reads dma-debug sees. */
const OBSERVED_COLUMN = {
  1: observedClass(POLLED_COLUMN[1], 1),
  2: observedClass(POLLED_COLUMN[2], 2),
  4: observedClass(POLLED_COLUMN[4], 4),
} as const;

/** A column in the byte order of this processor. */
export function nativeColumn(placement: Placement, width: 1 | 2 | 4): Column {
  const { buffer } = placement.bytes;
  if (lookAt(buffer) === undefined) return new NATIVE_COLUMN[width](placement);
  return new (readObserver(buffer) === undefined ? POLLED_COLUMN : OBSERVED_COLUMN)[width](placement);
}

/** A column in the other byte order. */
export class SwappedColumn implements Column {
  readonly #column: Column;
  readonly #swap: (value: number) => number;

  constructor(placement: Placement, width: 2 | 4) {
    this.#column = nativeColumn(placement, width);
    this.#swap = width === 2 ? swap16 : swap32;
  }

  get(element: number): number {
    return this.#swap(this.#column.get(element));
  }

  set(element: number, value: number): void {
    if (typeof value !== 'number') throw noNumber(value);
    this.#column.set(element, this.#swap(value));
  }

  load(element: number): number {
    return this.#swap(this.#column.load(element));
  }

  store(element: number, value: number): void {
    if (typeof value !== 'number') throw noNumber(value);
    this.#column.store(element, this.#swap(value));
  }
}

/** A 64-bit column, made of two 32-bit columns. */
export class PairColumn implements WideColumn {
  declare readonly lowHalf: Column;
  declare readonly highHalf: Column;

  constructor(low: Column, high: Column) {
    this.lowHalf = low;
    this.highHalf = high;
  }

  get(element: number): bigint {
    return (BigInt(this.high(element)) << 32n) | BigInt(this.low(element));
  }

  set(element: number, value: bigint): void {
    if (typeof value !== 'bigint') throw argumentError('the value of a 64-bit field', value, 'pass a bigint');
    this.setParts(element, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
  }

  setParts(element: number, low: number, high: number): void {
    this.lowHalf.set(element, low);
    this.highHalf.set(element, high);
  }

  low(element: number): number {
    return this.lowHalf.get(element);
  }

  high(element: number): number {
    return this.highHalf.get(element);
  }
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

function swap32(value: number): number {
  return ((swap16(value) << 16) | swap16(value >>> 16)) >>> 0;
}

function noNumber(value: unknown): DmaError {
  return argumentError('the value of a field', value, 'pass a number');
}

function noElement(element: number): DmaError {
  return new DmaError('EINVAL', `there is no element ${describe(element)}`, {
    remedy: 'use a whole number below the count of the array, of memory that is not freed',
  });
}
