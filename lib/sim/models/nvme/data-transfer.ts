/** Moves the data of a command between memory and the controller. */
import type { DeviceBus } from '../../model.ts';
import type { Activity } from './activity.ts';
import type { Command } from './command.ts';
import { DataPointer } from './data-pointer.ts';
import { MEDIA_PAGE, type NvmeNamespace } from './namespace.ts';
import { STATUS } from './status.ts';

/**
 * If memory cannot be written, there is no error, because PCI Express answers no write. If memory cannot be read,
 * there is an error. QEMU takes zeros in that case, but hardware is told of the failure.
 */
export class DataTransfer {
  /** CC.MPS: the page size of the driver's memory in bytes. */
  pageSize = 4096;
  readonly #activity: Activity;
  readonly #pointer: DataPointer;

  constructor(bus: DeviceBus, activity: Activity) {
    this.#activity = activity;
    this.#pointer = new DataPointer(bus, activity);
  }

  /** Finds the memory that a command names for `size` bytes of data. Returns a status. */
  map(command: Command, size: number): number {
    return this.#pointer.map(command, size, this.pageSize);
  }

  /** The address of a piece of the mapped memory. */
  address(piece: number): number | bigint {
    return this.#pointer.address(piece);
  }

  /** Writes all of `data` to the memory of the command. Returns a status. */
  send(command: Command, data: Uint8Array): number {
    const status = this.map(command, data.length);
    if (status !== STATUS.success) return status;
    const pointer = this.#pointer;
    let at = 0;
    for (let piece = 0; piece < pointer.count; piece++) {
      const length = pointer.length(piece);
      this.#activity.data(piece, pointer.count);
      pointer.write(piece, 0, data.subarray(at, at + length));
      at += length;
    }
    return STATUS.success;
  }

  /** Fills `into` from the memory of the command. Returns a status. */
  receive(command: Command, into: Uint8Array): number {
    const status = this.map(command, into.length);
    if (status !== STATUS.success) return status;
    const pointer = this.#pointer;
    let at = 0;
    let whole = true;
    for (let piece = 0; piece < pointer.count; piece++) {
      const length = pointer.length(piece);
      this.#activity.data(piece, pointer.count);
      whole = pointer.read(piece, 0, into.subarray(at, at + length)) && whole;
      at += length;
    }
    return whole ? STATUS.success : STATUS.dataTransfer;
  }

  /** Copies from byte `offset` of a namespace to the mapped memory. */
  readMedia(namespace: NvmeNamespace, offset: number): void {
    const pointer = this.#pointer;
    let at = offset;
    for (let piece = 0; piece < pointer.count; piece++) {
      const length = pointer.length(piece);
      this.#activity.data(piece, pointer.count);
      for (let done = 0; done < length; ) {
        const inPage = at % MEDIA_PAGE;
        const size = Math.min(length - done, MEDIA_PAGE - inPage);
        pointer.write(piece, done, part(namespace.page(at), inPage, size));
        done += size;
        at += size;
      }
    }
  }

  /** Copies the mapped memory to a namespace. Blocks whose memory cannot be read become zeros. Returns a status. */
  writeMedia(namespace: NvmeNamespace, offset: number): number {
    const pointer = this.#pointer;
    let at = offset;
    let whole = true;
    for (let piece = 0; piece < pointer.count; piece++) {
      const length = pointer.length(piece);
      this.#activity.data(piece, pointer.count);
      for (let done = 0; done < length; ) {
        const inPage = at % MEDIA_PAGE;
        const size = Math.min(length - done, MEDIA_PAGE - inPage);
        const into = part(namespace.pageToWrite(at), inPage, size);
        whole = pointer.read(piece, done, into) && whole;
        done += size;
        at += size;
      }
    }
    return whole ? STATUS.success : STATUS.dataTransfer;
  }
}

/** A whole page needs no view of its own. */
function part(page: Uint8Array, offset: number, size: number): Uint8Array {
  return size === MEDIA_PAGE ? page : page.subarray(offset, offset + size);
}
