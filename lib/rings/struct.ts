/**
 * The layout of a descriptor, as its specification draws it, over memory that a device shares:
 *
 *      const Completion = struct(16, { result: u32(0), head: u16(8), id: u16(12), status: u16(14) });
 *      const queue = Completion.over(ring.bytes);
 *      if ((queue.status.load(i) & 1) === phase) done(queue.id.get(i));
 *
 * Fields are little-endian, as in PCI devices. Those with `be` in their name are big-endian, on any processor. Fields
 * may overlap, because a device often writes back over the driver's fields.
 */

import { argumentError, checkBytes, describe, oneOf } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import {
  type Column,
  nativeColumn,
  PairColumn,
  type Placement,
  SwappedColumn,
  type WideColumn,
} from './column.ts';

/** A field of a struct, made by `u8` to `u64be`. */
export interface Field<C extends Column | WideColumn = Column | WideColumn> {
  /** Bytes from the start of the struct. */
  readonly offset: number;
  /** Bytes. */
  readonly width: number;
  /** Its offset is a multiple of this. */
  readonly align: number;
  /** The field in all elements of an array. */
  over(placement: Placement): C;
}

type Fields = Readonly<Record<string, Field>>;
type Columns<F extends Fields> = { readonly [Name in keyof F]: F[Name] extends Field<infer C> ? C : never };

/** Elements in memory, by field: `queue.id.get(3)` is field `id` of element 3. */
export type StructArray<F extends Fields> = Columns<F> & {
  /** The number of elements. */
  readonly count: number;
  /** Zeroes a whole element. @throws DmaError EINVAL it does not exist, or was freed */
  clear(element: number): void;
};

/** The elements of a struct, as the type of a property: `ArrayOf<typeof Completion>`. */
export type ArrayOf<S> = S extends Struct<infer F> ? StructArray<F> : never;

/** The layout of a structure in memory. */
export interface Struct<F extends Fields> {
  /** Bytes. */
  readonly size: number;
  /**
   * As many elements as `bytes` holds: bytes of a coherent buffer, of a pool's block, or any memory of the driver.
   * @throws DmaError EINVAL not whole elements, or misaligned for one of the fields
   */
  over(bytes: Uint8Array): StructArray<F>;
}

/** A field of 8 bits. @param offset bytes from the start of the element */
export const u8 = (offset: number): Field<Column> => number(offset, 1, true);
/** A field of 16 bits, little-endian. @param offset bytes from the start of the element */
export const u16 = (offset: number): Field<Column> => number(offset, 2, true);
/** A field of 32 bits, little-endian. @param offset bytes from the start of the element */
export const u32 = (offset: number): Field<Column> => number(offset, 4, true);
/** A field of 64 bits, little-endian. @param offset bytes from the start of the element */
export const u64 = (offset: number): Field<WideColumn> => pair(offset, true);
/** A field of 16 bits, big-endian. @param offset bytes from the start of the element */
export const u16be = (offset: number): Field<Column> => number(offset, 2, false);
/** A field of 32 bits, big-endian. @param offset bytes from the start of the element */
export const u32be = (offset: number): Field<Column> => number(offset, 4, false);
/** A field of 64 bits, big-endian. @param offset bytes from the start of the element */
export const u64be = (offset: number): Field<WideColumn> => pair(offset, false);

/**
 * @param size bytes of one element, and the distance between neighbours
 * @throws DmaError EINVAL the size is not valid, or a field is outside, misaligned, or named `count` or `clear`
 */
export function struct<F extends Fields>(size: number, fields: F): Struct<F> {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new DmaError('EINVAL', `a struct of ${describe(size)} bytes`, { remedy: 'use 1 or more' });
  }
  if (typeof fields !== 'object' || fields === null) {
    throw argumentError('the fields of a struct', fields, 'pass an object, e.g. { id: u16(0) }');
  }
  const entries = Object.entries(fields);
  for (const [name, field] of entries) checkField(name, field, size);
  const align = Math.max(1, ...entries.map(([, field]) => field.align));
  return {
    size,
    over(bytes) {
      checkMemory(bytes, size, align);
      const columns = entries.map(([name, field]) => [
        name,
        field.over({ bytes, size, offset: field.offset }),
      ]);
      const array = { count: bytes.length / size, clear: (element: number) => clear(bytes, size, element) };
      return Object.assign(array, Object.fromEntries(columns)) as StructArray<F>;
    },
  };
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function number(offset: number, width: 1 | 2 | 4, little: boolean): Field<Column> {
  return {
    offset,
    width,
    align: width,
    over: (placement) =>
      width === 1 || little === LITTLE_ENDIAN
        ? nativeColumn(placement, width)
        : new SwappedColumn(placement, width),
  };
}

function pair(offset: number, little: boolean): Field<WideColumn> {
  const [low, high] = little ? [0, 4] : [4, 0];
  return {
    offset,
    width: 8,
    align: 4,
    over: (placement) =>
      new PairColumn(
        number(offset, 4, little).over({ ...placement, offset: offset + low }),
        number(offset, 4, little).over({ ...placement, offset: offset + high }),
      ),
  };
}

function clear(bytes: Uint8Array, size: number, element: number): void {
  const start = Number.isInteger(element) ? element * size : -1;
  if (start >= 0 && start + size <= bytes.length) {
    bytes.fill(0, start, start + size);
    return;
  }
  throw new DmaError('EINVAL', `there is no element ${describe(element)} of ${bytes.length / size}`, {
    remedy: 'use a whole number below the count of the array, of memory that is not freed',
  });
}

function checkField(name: string, field: Field, size: number): void {
  if (typeof field?.over !== 'function')
    throw argumentError(`field ${name}`, field, 'make it with u8 to u64be');
  const { offset, width, align } = field;
  checkWidth(width, `the width of field ${name}`);
  checkWidth(align, `the alignment of field ${name}`);
  const refuse = (why: string, remedy: string): never => {
    throw new DmaError('EINVAL', `field ${name} at ${describe(offset)} of a struct of ${size} bytes ${why}`, {
      remedy,
    });
  };
  if (name === 'count' || name === 'clear')
    refuse('has a name that every array has', 'call it something else');
  const inside = Number.isSafeInteger(offset) && offset >= 0 && offset + width <= size;
  if (!inside) refuse('is outside', `place all ${width} bytes of it inside`);
  if (offset % align !== 0 || size % align !== 0) {
    refuse('is misaligned', `place it, and end the struct, at a multiple of ${align}`);
  }
}

const checkWidth = oneOf(1, 2, 4, 8);

function checkMemory(bytes: Uint8Array, size: number, align: number): void {
  checkBytes(bytes, 'the memory of whole structs');
  if (bytes.length === 0 || bytes.length % size !== 0) {
    throw new DmaError('EINVAL', `${bytes.length} bytes are not whole structs of ${size} bytes`, {
      remedy: 'pass a Uint8Array over one or more of them',
    });
  }
  if (bytes.byteOffset % align !== 0) {
    throw new DmaError('EINVAL', `memory at byte ${bytes.byteOffset} of its buffer is misaligned`, {
      remedy: `start at a multiple of ${align}`,
    });
  }
}
