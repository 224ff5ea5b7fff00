/**
 * dma-bufs: memory that kernel drivers and processes share as a file descriptor (drivers/dma-buf).
 *
 *      exportDmaBuf(view)    of this library's memory (udmabuf.ts)  --.
 *      DmaHeapMemory         of a heap of the kernel (dma-heap.ts)  ---+--> DmaBuf: fd, CPU access
 *      importDmaBuf(fd)      of a camera, a GPU, another process    --'
 *
 * A dma-buf cannot be mapped for a device of this library, because VFIO does not pin memory that a driver mapped. A
 * program that shares memory with kernel drivers therefore allocates it from its own device and exports it.
 */

import { constants } from 'node:buffer';
import { describe } from '../arguments.ts';
import { type DmaDirection, directionBits } from '../direction.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { DMA_BUF_SYNC } from '../native/dma-buf.ts';
import { loadAddon } from '../native/load.ts';
import { detach } from './detach.ts';

/**
 * Indexed by DEVICE_READS and DEVICE_WRITES: the CPU writes the bytes that the device reads, and reads those that it
 * writes.
 */
const SYNC_FLAGS = [0, DMA_BUF_SYNC.write, DMA_BUF_SYNC.read, DMA_BUF_SYNC.read | DMA_BUF_SYNC.write];

/**
 * One dma-buf, with a descriptor of its own. The memory lives until its last descriptor and its last mapping are
 * gone, in any process. Freeing the memory that it was made from does not end it.
 */
export class DmaBuf {
  /** Bytes, whole pages. */
  readonly size: number;
  readonly #native: Addon;
  readonly #handle: Handle;
  readonly #mapped: number;
  #buffer: ArrayBuffer | undefined;
  #accesses = 0;
  #closed = false;

  /**
   * @param handle of a dma-buf; this object owns it from here on
   * @param mapped the number of bytes that `map` shows; default all
   * @internal
   */
  constructor(native: Addon, handle: Handle, mapped?: number) {
    this.#native = native;
    this.#handle = handle;
    this.size = native.dmaBufSize(handle);
    this.#mapped = mapped ?? this.size;
  }

  /**
   * The descriptor, close-on-exec, for V4L2, DRM or a child process (`stdio`). This object owns it: a program that
   * keeps it must duplicate it. @throws DmaError ENODEV closed
   */
  get fd(): number {
    this.#checkOpen();
    return this.#native.dmaBufFd(this.#handle);
  }

  /** True after `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Its bytes, the same ArrayBuffer every time. Between `beginCpuAccess` and `endCpuAccess` the CPU sees the same
   * bytes as the devices. The exporter decides if its memory is cached; uncached memory is slow to read.
   * @throws DmaError EACCES the descriptor is for reading only · EOPNOTSUPP its exporter does not let it be mapped ·
   *   ENOMEM too large for one ArrayBuffer, or no address space · ENODEV closed
   */
  map(): ArrayBuffer {
    this.#checkOpen();
    this.#buffer ??= this.#map();
    return this.#buffer;
  }

  /**
   * Begins an access of the CPU. Call it before the CPU reads bytes that devices wrote ('from-device'), or writes
   * bytes that they will read ('to-device'). It waits until the devices have finished, and makes caches agree
   * (DMA_BUF_SYNC_START). Calls nest; each needs its own `endCpuAccess`.
   * @throws DmaError EINVAL direction · ENODEV closed · the exporter's error
   */
  beginCpuAccess(direction: DmaDirection): void {
    this.#sync(SYNC_FLAGS[directionBits(direction)]!);
    this.#accesses++;
  }

  /**
   * Ends an access of the CPU, with the direction of its `beginCpuAccess` (DMA_BUF_SYNC_END).
   * @throws DmaError EINVAL direction, or no access was begun · ENODEV closed · the exporter's error
   */
  endCpuAccess(direction: DmaDirection): void {
    const flags = SYNC_FLAGS[directionBits(direction)]!;
    this.#checkOpen();
    if (this.#accesses === 0) {
      throw new DmaError('EINVAL', 'no CPU access of this dma-buf was begun', {
        remedy: 'call beginCpuAccess before the bytes are touched, and this once after it',
      });
    }
    this.#sync(flags | DMA_BUF_SYNC.end);
    this.#accesses--;
  }

  /**
   * Close it. Every view of its bytes then has length 0, and the descriptor is closed. The memory lives on while
   * another descriptor of it is open. Calling it twice is harmless.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.dmaBufClose(this.#handle);
    if (this.#buffer !== undefined) detach(this.#native, this.#buffer);
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #map(): ArrayBuffer {
    if (this.#mapped > constants.MAX_LENGTH) throw mapError(-ENOMEM, this.size);
    const buffer = this.#native.dmaBufMap(this.#handle, this.#mapped);
    if (typeof buffer === 'number') throw mapError(buffer, this.size);
    return buffer;
  }

  #sync(flags: number): void {
    this.#checkOpen();
    const result = this.#native.dmaBufSync(this.#handle, flags);
    if (result >= 0) return;
    throw new DmaError(errnoName(result), 'the exporter of the dma-buf could not hand it over', {
      syscall: 'DMA_BUF_IOCTL_SYNC',
      remedy: 'a device that uses it may be gone or stuck; the kernel log (dmesg) may say why',
    });
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new DmaError('ENODEV', 'the dma-buf is closed', { remedy: 'import or export it again' });
  }
}

/**
 * A dma-buf of another driver or process, by its descriptor. This function duplicates the descriptor; the caller
 * keeps owning `fd`.
 * @throws DmaError EINVAL not a descriptor of a dma-buf · EBADF not open · EMFILE no descriptor is left · ENOSYS no
 *   addon
 */
export function importDmaBuf(fd: number): DmaBuf {
  const native = loadAddon();
  const handle = native.dmaBufImport(fd);
  if (handle > 0) return new DmaBuf(native, handle);
  throw importError(errnoName(handle), fd);
}

const ENOMEM = 12;

function importError(code: ReturnType<typeof errnoName>, fd: number): DmaError {
  switch (code) {
    case 'EBADF':
      return new DmaError(code, `file descriptor ${fd} is not open`, {
        remedy: 'import it before its owner closes it',
      });
    case 'EMFILE':
      return new DmaError(code, 'no file descriptor is left', {
        syscall: 'fcntl',
        remedy: 'raise the limit of open files (ulimit -n)',
      });
    default:
      return new DmaError('EINVAL', `${describe(fd)} is no file descriptor of a dma-buf`, {
        remedy: 'pass one that V4L2 (VIDIOC_EXPBUF), DRM (PRIME), a dma-heap or exportDmaBuf() gave',
      });
  }
}

function mapError(errno: number, size: number): DmaError {
  const syscall = 'mmap';
  const code = errnoName(errno);
  switch (code) {
    case 'EACCES':
      return new DmaError(code, 'the dma-buf was handed over for reading only', {
        syscall,
        remedy: 'have it exported for reading and writing (O_RDWR, DRM_RDWR)',
      });
    case 'ENOMEM':
      return new DmaError(code, `an ArrayBuffer of ${size} bytes cannot be made`, {
        syscall,
        remedy: `the largest has ${constants.MAX_LENGTH}; close other buffers, or raise ulimit -v`,
      });
    default:
      return new DmaError('EOPNOTSUPP', `its exporter does not let the dma-buf be mapped (${code})`, {
        syscall,
        remedy: 'hand it on by its descriptor, or copy it with a device that takes dma-bufs',
      });
  }
}
