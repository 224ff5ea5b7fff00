/**
 * dma-bufs: memory that drivers of the kernel and processes share as a file descriptor (drivers/dma-buf).
 *
 *      exportDmaBuf(view)    of this library's memory (udmabuf.ts)  --.
 *      DmaHeapMemory         of a heap of the kernel (dma-heap.ts)  ---+--> DmaBuf: fd, CPU access
 *      importDmaBuf(fd)      of a camera, a GPU, another process    --'
 *
 * No dma-buf can be mapped for a device of ours: VFIO does not pin memory that a driver mapped. A driver that shares
 * memory with the kernel therefore allocates it from its own device and exports it.
 */

import { constants } from 'node:buffer';
import { describe } from '../arguments.ts';
import { type DmaDirection, directionBits } from '../direction.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { DMA_BUF_SYNC } from '../native/dma-buf.ts';
import { loadAddon } from '../native/load.ts';
import { detach } from './detach.ts';

/** By DEVICE_READS and DEVICE_WRITES: the CPU writes what the device reads, and reads what it writes. */
const SYNC_FLAGS = [0, DMA_BUF_SYNC.write, DMA_BUF_SYNC.read, DMA_BUF_SYNC.read | DMA_BUF_SYNC.write];

/**
 * One dma-buf, by a descriptor of its own. The memory lives until the last descriptor and mapping of it, in whatever
 * process, is gone, also when what it was made of is freed.
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
   * @param handle of a dma-buf, which belongs to this object from here on
   * @param mapped bytes that `map` shows; default all of it
   * @internal
   */
  constructor(native: Addon, handle: Handle, mapped?: number) {
    this.#native = native;
    this.#handle = handle;
    this.size = native.dmaBufSize(handle);
    this.#mapped = mapped ?? this.size;
  }

  /**
   * The descriptor, close-on-exec, to hand to V4L2, DRM or a child process (`stdio`). This object owns it: a program
   * that keeps it must duplicate it. @throws DmaError ENODEV closed
   */
  get fd(): number {
    this.#checkOpen();
    return this.#native.dmaBufFd(this.#handle);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Its bytes, the same ArrayBuffer every time. Between `beginCpuAccess` and `endCpuAccess` they are what the devices
   * see. Memory behind it may be uncached and slow to read; that is the exporter's choice.
   * @throws DmaError EACCES the descriptor is for reading only · EOPNOTSUPP its exporter does not let it be mapped ·
   *   ENOMEM too large for one ArrayBuffer, or no address space · ENODEV closed
   */
  map(): ArrayBuffer {
    this.#checkOpen();
    this.#buffer ??= this.#map();
    return this.#buffer;
  }

  /**
   * Before the CPU reads what devices wrote ('from-device'), or writes what they will read ('to-device'): waits for
   * them to finish and makes caches agree (DMA_BUF_SYNC_START). Calls nest, as many as `endCpuAccess`.
   * @throws DmaError EINVAL direction · ENODEV closed · what the exporter says
   */
  beginCpuAccess(direction: DmaDirection): void {
    this.#sync(SYNC_FLAGS[directionBits(direction)]!);
    this.#accesses++;
  }

  /**
   * After it, with the same direction (DMA_BUF_SYNC_END).
   * @throws DmaError EINVAL direction, or no access was begun · ENODEV closed · what the exporter says
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
   * Close it: every view of its bytes has length 0 afterwards, and the descriptor is closed. The memory lives on while
   * other descriptors of it are open. Harmless to call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.dmaBufClose(this.#handle);
    if (this.#buffer !== undefined) detach(this.#native, this.#buffer);
  }

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
 * A dma-buf of another driver or process, by its descriptor. The descriptor is duplicated: `fd` stays the caller's.
 * @throws DmaError EINVAL no descriptor of a dma-buf · EBADF not open · EMFILE no descriptor is left · ENOSYS no addon
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
      return new DmaError(code, `no ArrayBuffer of ${size} bytes can be had`, {
        syscall,
        remedy: `one can have ${constants.MAX_LENGTH}; close what is not needed, or raise ulimit -v`,
      });
    default:
      return new DmaError('EOPNOTSUPP', `its exporter does not let the dma-buf be mapped (${code})`, {
        syscall,
        remedy: 'hand it on by its descriptor, or copy it with a device that takes dma-bufs',
      });
  }
}
