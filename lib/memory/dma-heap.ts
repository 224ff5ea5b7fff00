/**
 * Memory from the kernel's dma-buf heaps (drivers/dma-buf/dma-heap.c). Each allocation is a dma-buf of its own, for
 * drivers that import dma-bufs (V4L2, DRM, an accelerator). The devices of those drivers reach the memory. Devices of
 * this library do not: VFIO does not pin memory that a driver has mapped, and fails with EFAULT.
 */

import { constants } from 'node:buffer';
import { closeSync, readdirSync } from 'node:fs';
import { checkOptions, checkSize, checkText, quote } from '../arguments.ts';
import { openNode, under } from '../device-node.ts';
import type { DmaDirection } from '../direction.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { Addon } from '../native/addon.ts';
import { loadAddon } from '../native/load.ts';
import { DmaBuf, importDmaBuf } from './dma-buf.ts';
import type { MemorySource } from './source.ts';

export interface HeapsOptions {
  /** Prefix of /dev, so that a recorded tree can stand for a machine. Default `/`. */
  readonly root?: string;
}

/** Options of DmaHeapMemory. */
export interface DmaHeapMemoryOptions extends HeapsOptions {
  /**
   * One of `dmaHeaps()`. Default `system`: scattered pages. The heaps `reserved`, `linux,cma` and similar ones are
   * contiguous.
   */
  readonly heap?: string;
}

const FOLDER = '/dev/dma_heap';

/** The names of the heaps of this system, ascending; empty if it has none. */
export function dmaHeaps(options: HeapsOptions = {}): string[] {
  checkOptions<HeapsOptions>(options, 'dmaHeaps', { root: checkText });
  const { root = '/' } = options;
  try {
    return readdirSync(under(root, FOLDER)).sort();
  } catch {
    return [];
  }
}

/** Memory from a dma-heap of the kernel (/dev/dma_heap). */
export class DmaHeapMemory implements MemorySource {
  /** `dma-heap` and the heap's name. */
  readonly name: string;
  readonly pageSize: number;
  readonly #native: Addon;
  readonly #heap: number;
  readonly #live = new Map<ArrayBuffer, DmaBuf>();
  #closed = false;

  /**
   * @throws DmaError ENODEV the heap does not exist · EACCES no permission · EINVAL not a name of a heap · ENOSYS no
   *   addon
   */
  constructor(options: DmaHeapMemoryOptions = {}) {
    checkOptions<DmaHeapMemoryOptions>(options, 'DmaHeapMemory', { heap: checkText, root: checkText });
    const { heap = 'system', root = '/' } = options;
    if (!/^[^/\0]+$/.test(heap) || /^\.\.?$/.test(heap)) {
      throw new DmaError('EINVAL', `${quote(heap)} is not the name of a heap`, {
        remedy: existing(root),
      });
    }
    this.#native = loadAddon();
    this.#heap = openNode({
      path: under(root, `${FOLDER}/${heap}`),
      absent: existing(root),
      rule: `SUBSYSTEM=="dma_heap", KERNEL=="${heap}"`,
    });
    this.name = `dma-heap ${heap}`;
    this.pageSize = this.#native.pageSize();
  }

  allocate(size: number): ArrayBuffer {
    if (this.#closed) throw closedError();
    checkSize(size, 'the size of an allocation');
    // 0 means that Node.js cannot tell.
    const available = process.availableMemory() || Number.POSITIVE_INFINITY;
    if (size > constants.MAX_LENGTH || size > available) throw this.#noMemory(size);
    const handle = this.#native.dmaHeapAllocate(this.#heap, size);
    if (handle < 0) throw this.#refused(size, handle);
    const dmaBuf = new DmaBuf(this.#native, handle, size);
    try {
      const buffer = dmaBuf.map();
      this.#live.set(buffer, dmaBuf);
      return buffer;
    } catch (error) {
      dmaBuf.close();
      throw error;
    }
  }

  free(buffer: ArrayBuffer): void {
    const dmaBuf = this.#of(buffer);
    this.#live.delete(buffer);
    // The memory is a dma-buf of its own. A program that transferred the buffer sees zeros, and the pages are never
    // used again.
    dmaBuf.close();
  }

  /** As `DmaBuf.beginCpuAccess`, for an allocation. @throws DmaError also EINVAL not a live allocation */
  beginCpuAccess(buffer: ArrayBuffer, direction: DmaDirection): void {
    this.#of(buffer).beginCpuAccess(direction);
  }

  /** As `DmaBuf.endCpuAccess`. */
  endCpuAccess(buffer: ArrayBuffer, direction: DmaDirection): void {
    this.#of(buffer).endCpuAccess(direction);
  }

  /**
   * A new DmaBuf for the dma-buf behind an allocation. The caller closes it. The pages live as long as one of the
   * descriptors is open.
   * @throws DmaError EINVAL not a live allocation of this memory · EMFILE
   */
  exportDmaBuf(buffer: ArrayBuffer): DmaBuf {
    return importDmaBuf(this.#of(buffer).fd);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const dmaBuf of this.#live.values()) dmaBuf.close();
    this.#live.clear();
    closeSync(this.#heap);
  }

  #of(buffer: ArrayBuffer): DmaBuf {
    const dmaBuf = this.#live.get(buffer);
    if (dmaBuf !== undefined) return dmaBuf;
    throw new DmaError('EINVAL', 'not a live allocation of this memory', {
      remedy: 'use it before it is freed, and free it once, where it came from',
    });
  }

  #refused(size: number, errno: number): DmaError {
    const code = errnoName(errno);
    if (code === 'ENOMEM') return this.#noMemory(size);
    const isHeap = code !== 'ENOTTY';
    return new DmaError(isHeap ? code : 'ENODEV', `${this.name} gives no ${size} bytes (${code})`, {
      syscall: 'DMA_HEAP_IOCTL_ALLOC',
      remedy: isHeap ? 'the kernel log (dmesg) may say why' : 'its node is not that of a heap',
    });
  }

  #noMemory(size: number): DmaError {
    return new DmaError('ENOMEM', `${this.name} has no ${size} bytes`, {
      syscall: 'DMA_HEAP_IOCTL_ALLOC',
      remedy: 'ask for less at once or free something; a contiguous heap is made larger with cma= at boot',
    });
  }
}

function closedError(): DmaError {
  return new DmaError('ENODEV', 'the memory is closed', { remedy: 'open the heap again' });
}

function existing(root: string): string {
  const names = dmaHeaps({ root });
  if (names.length > 0) return `the heaps of this system are ${names.join(', ')}`;
  return 'this system has no heaps: the kernel needs CONFIG_DMABUF_HEAPS and CONFIG_DMABUF_HEAPS_SYSTEM';
}
