/**
 * Telling the module u-dma-buf to make the CPU's caches agree with memory, for a part of its buffer. The module
 * offers the cache maintenance of the kernel's dma_sync_single_for_cpu and _for_device in two ways:
 *
 *      ioctl on the node       one call, 64-bit offset and size           (version 4.7 of the module and later)
 *      files in its folder     offset, size and direction, then the write that starts it
 *
 * A third way packs all values into the number that starts the sync. The library never uses it, because it drops the
 * low four bits of the size.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { DmaDirection } from '../direction.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { Handle } from '../native/addon.ts';
import { U_DMA_BUF_DIRECTION, type UDmaBufFunctions } from '../native/u-dma-buf.ts';
import { className } from './u-dma-buf-sysfs.ts';

export interface SyncChannel {
  /**
   * From here on the CPU, or the device, owns bytes [offset, offset + size) of the buffer.
   * @throws DmaError the kernel's error
   */
  sync(offset: number, size: number, direction: DmaDirection, owner: 'cpu' | 'device'): void;
  close(): void;
}

/** U_DMA_BUF_IOCTL_SET_SYNC. */
export class IoctlSync implements SyncChannel {
  readonly #native: Pick<UDmaBufFunctions, 'uDmaBufSync'>;
  readonly #region: Handle;

  /** @param region of the node; the caller keeps owning it */
  constructor(native: Pick<UDmaBufFunctions, 'uDmaBufSync'>, region: Handle) {
    this.#native = native;
    this.#region = region;
  }

  sync(offset: number, size: number, direction: DmaDirection, owner: 'cpu' | 'device'): void {
    const number = U_DMA_BUF_DIRECTION[direction];
    const result = this.#native.uDmaBufSync(this.#region, offset, size, number, owner === 'device');
    if (result < 0) throw failed(offset, size, errnoName(result), 'U_DMA_BUF_IOCTL_SET_SYNC');
  }

  close(): void {}
}

const FILES = ['sync_offset', 'sync_size', 'sync_direction', 'sync_for_cpu', 'sync_for_device'] as const;

type SyncFile = (typeof FILES)[number];

/** The files, kept open as long as this object. */
export class SysfsSync implements SyncChannel {
  readonly #files = new Map<SyncFile, number>();

  /** @throws DmaError EACCES no permission to write them · EIO they do not exist */
  constructor(folder: string) {
    try {
      for (const name of FILES) this.#files.set(name, openSync(`${folder}/${name}`, 'r+'));
    } catch (cause) {
      this.close();
      throw unwritable(folder, cause);
    }
  }

  sync(offset: number, size: number, direction: DmaDirection, owner: 'cpu' | 'device'): void {
    try {
      this.#write('sync_offset', offset);
      this.#write('sync_size', size);
      this.#write('sync_direction', U_DMA_BUF_DIRECTION[direction]);
      this.#write(owner === 'cpu' ? 'sync_for_cpu' : 'sync_for_device', 1);
    } catch (cause) {
      throw failed(offset, size, errnoName((cause as NodeJS.ErrnoException).errno ?? 0), 'write', cause);
    }
  }

  close(): void {
    for (const file of this.#files.values()) closeSync(file);
    this.#files.clear();
  }

  #write(name: SyncFile, value: number): void {
    writeSync(this.#files.get(name)!, `${value}\n`, 0);
  }
}

/** The reason why a file of the folder cannot be written. */
export function unwritable(folder: string, cause: unknown): DmaError {
  const { code, syscall } = cause as NodeJS.ErrnoException;
  const options = { syscall, cause };
  if (code !== 'EACCES' && code !== 'EPERM') {
    return new DmaError('EIO', `${folder} lacks a file that syncs need`, {
      ...options,
      remedy: 'check that the module u-dma-buf made it, and which version (driver_version)',
    });
  }
  return new DmaError('EACCES', `no permission to write ${folder}/sync_*`, {
    ...options,
    remedy:
      'as root, add to /etc/udev/rules.d/99-u-dma-buf.rules ' +
      `SUBSYSTEM=="${className(folder)}", RUN+="/bin/sh -c 'chown ${process.getuid?.() ?? 'USER'} %S%p/sync_*'" ` +
      'and load the module again; version 4.7 of it and later needs the node only',
  });
}

function failed(
  offset: number,
  size: number,
  code: ReturnType<typeof errnoName>,
  syscall: string,
  cause?: unknown,
): DmaError {
  return new DmaError(code, `the module refused to sync ${size} bytes at offset ${offset} of its buffer`, {
    remedy: 'check that it is still loaded, and the kernel log',
    syscall,
    cause,
  });
}
