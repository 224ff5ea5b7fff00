/** Moves the data of a command between memory and what the controller has. */
import type { DeviceBus } from '../../model.ts';
import type { Activity } from './activity.ts';
import type { Command } from './command.ts';
import { DataPointer } from './data-pointer.ts';
import { MEDIA_PAGE, type NvmeNamespace } from './namespace.ts';
import { STATUS } from './status.ts';

/**
 * Memory that cannot be written is no error: PCI Express answers no write. Memory that cannot be read is: QEMU takes
 * zeros for it, hardware is told.
 */
export class DataTransfer {
  /** CC.MPS: bytes of a page of the driver's memory. */
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

  /** Where a piece of the memory that was mapped begins. */
  address(piece: number): number | bigint {
    return this.#pointer.address(piece);
  }

  /** All of `data` to the memory that the command names. Returns a status. */
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

  /** As many bytes as `into` has from the memory that the command names. Returns a status. */
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

  /** From byte `offset` of a namespace on to the memory that was mapped. */
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

  /** The other way round. Where memory cannot be read the blocks become zeros. Returns a status. */
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
