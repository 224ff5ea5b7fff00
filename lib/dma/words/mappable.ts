/**
 * The memory that can be mapped: the bytes of a view, unless the program can move or resize them while the device
 * uses them.
 */
import { constants } from 'node:buffer';
import { DEVICE_WRITES } from '../../direction.ts';
import { DmaError } from '../../errors.ts';

/**
 * The bytes of a view.
 * @param bits the accesses of the device, DEVICE_READS and DEVICE_WRITES
 * @throws DmaError EINVAL no view · empty or detached · of resizable or shared memory · of immutable memory that the
 *   device may write
 */
export function mappableBytes(view: ArrayBufferView, bits: number): Uint8Array {
  if (!ArrayBuffer.isView(view)) throw notAView();
  return bytesOf(view, view.buffer, bits);
}

/**
 * As `mappableBytes`, for a view whose buffer the caller has read already: reading it costs as much as copying a
 * kilobyte.
 */
export function bytesOf(view: ArrayBufferView, buffer: ArrayBufferLike, bits: number): Uint8Array {
  // Node 20 knows the property. A SharedArrayBuffer does not have it.
  if ((buffer as { readonly resizable?: boolean }).resizable !== false) {
    throw notMappable('a view of resizable or shared memory', 'a view of a fixed ArrayBuffer');
  }
  // Some runtimes have ArrayBuffer.prototype.immutable: the device's bytes could not be copied into that buffer.
  if ((bits & DEVICE_WRITES) !== 0 && (buffer as { readonly immutable?: boolean }).immutable === true) {
    throw notMappable('immutable memory that the device may write', "'to-device', or memory that can change");
  }
  const bytes = view instanceof Uint8Array ? view : otherBytesIn(view, buffer);
  if (bytes.length === 0) throw emptyView();
  return bytes;
}

/** The error for a value that is not a view. */
export function notAView(): DmaError {
  return notMappable('no view of a buffer', 'a typed array, DataView or Buffer');
}

/** The error for a view without bytes. */
export function emptyView(): DmaError {
  return notMappable('an empty or detached view', 'at least one byte');
}

function otherBytesIn(view: ArrayBufferView, buffer: ArrayBufferLike): Uint8Array {
  // If the buffer is detached, reading the offset of a DataView and making a new view throw.
  if (buffer.byteLength === 0) throw emptyView();
  // Only a DataView can be longer than a typed array.
  if (view.byteLength > constants.MAX_LENGTH) {
    throw notMappable(`a view of ${view.byteLength} bytes`, `${constants.MAX_LENGTH} bytes at most`);
  }
  return new Uint8Array(buffer, view.byteOffset, view.byteLength);
}

function notMappable(what: string, wanted: string): DmaError {
  return new DmaError('EINVAL', `${what} cannot be mapped`, { remedy: `pass ${wanted}` });
}
