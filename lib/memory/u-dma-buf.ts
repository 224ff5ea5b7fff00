/**
 * The buffer of a u-dma-buf (github.com/ikwzm/udmabuf): one piece of physical memory with an address that a device
 * without an IOMMU understands. A kernel module allocates it; the module does not come with the kernel. It is not
 * /dev/udmabuf.
 *
 *      device address   phys_addr [ run | run | free ........ | quarantined | run ] + size   whole pages, from the top
 *      the CPU's views            'coherent' runs of the uncached mapping, 'noncoherent' runs of the cached mapping
 *
 * A device that sees the CPU's caches needs one mapping, which is cached. For other devices there are two: memory
 * that both sides may write at any time has to be uncached, and the rest is cached and synced. A page is used through
 * one mapping at a time: before a page is allocated, its lines are removed from the cache.
 *
 * Invariants: a page belongs to at most one live ArrayBuffer. A page is not allocated again if its buffer could not be
 * detached, or was exported. After close, anonymous memory is in the place of both mappings.
 */

import { constants } from 'node:buffer';
import { closeSync } from 'node:fs';
import { checkSize, describe } from '../arguments.ts';
import type { CacheMaintenance } from '../cache.ts';
import { type DmaDirection, directionBits } from '../direction.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import { powerOfTwoCeil } from '../iommu/page-ranges.ts';
import type { Handle, RegionFunctions } from '../native/addon.ts';
import type { UDmaBufFunctions } from '../native/u-dma-buf.ts';
import type { AddressedMemory } from './addressed.ts';
import { detach } from './detach.ts';
import { type DmaBuf, importDmaBuf } from './dma-buf.ts';
import { PageRuns } from './page-runs.ts';
import type { Coherence } from './source.ts';
import type { SyncChannel } from './u-dma-buf-sync.ts';

/**
 * A longer allocation is aligned to this many bytes if the buffer has no larger multiple: as in the kernel's CMA
 * (CONFIG_CMA_ALIGNMENT).
 */
const LEAST_ALIGN = 2 ** 20;

export interface UDmaBufParts {
  /** The name in /dev, e.g. `udmabuf0`. */
  readonly device: string;
  /** Device address of the first byte, a multiple of the page size. */
  readonly address: number;
  /** Bytes, whole pages. */
  readonly size: number;
  /** One page of the node. Its descriptor holds the lock and takes the ioctls. */
  readonly control: Handle;
  /** The whole buffer, as 'coherent' allocations see it. */
  readonly coherent: Handle;
  /** The whole buffer, as 'noncoherent' allocations see it; undefined if that is the same region. */
  readonly cached?: Handle | undefined;
  /** Bytes of a cache line. */
  readonly lineSize: number;
  /** Makes the caches agree, for a device that does not see them. */
  readonly channel?: SyncChannel | undefined;
}

/** The place of an allocation. */
interface Run {
  readonly page: number;
  readonly pages: number;
  readonly size: number;
  readonly cached: boolean;
  exported: boolean;
}

/** The memory that `openUDmaBuf` opens, for one DmaDevice: `new DmaDevice({ name, memory, cache: memory.cache })`. */
export class UDmaBufMemory implements AddressedMemory {
  readonly name = 'u-dma-buf';
  /** The name in /dev, e.g. `udmabuf0`. */
  readonly device: string;
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly highest: number;
  /** For the DmaDevice; undefined if no memory needs a sync. */
  readonly cache: CacheMaintenance | undefined;

  readonly #addon: RegionFunctions & UDmaBufFunctions;
  readonly #parts: UDmaBufParts;
  /** The free pages, numbered by device address. */
  readonly #runs: PageRuns;
  readonly #live = new Map<ArrayBuffer, Run>();
  #quarantined = 0;
  #closed = false;

  /** This object owns the regions and the channel from here on. @internal */
  constructor(addon: RegionFunctions & UDmaBufFunctions, parts: UDmaBufParts) {
    const { device, address, size, cached, channel, lineSize } = parts;
    const pageSize = addon.pageSize();
    // Page 0 is never allocated, so that 0 is always recognisable as a bad address.
    const first = Math.max(1, address / pageSize);
    const pages = (address + size) / pageSize - first;
    this.device = device;
    this.pageSize = pageSize;
    this.ranges = [{ start: first * pageSize, end: (first + pages) * pageSize - 1 }];
    this.highest = (first + pages) * pageSize - 1;
    this.#addon = addon;
    this.#parts = parts;
    this.#runs = new PageRuns(pages, first);
    this.cache =
      channel === undefined || cached === undefined ? undefined : this.#maintenance(channel, lineSize);
  }

  /** The number of bytes that no allocation holds. */
  get available(): number {
    return this.#runs.free * this.pageSize;
  }

  /** Bytes that are not used again, because the program or another process still holds them. */
  get quarantined(): number {
    return this.#quarantined;
  }

  addressOf(buffer: ArrayBuffer): number {
    return this.#find(buffer).page * this.pageSize;
  }

  allocate(size: number, coherence?: Coherence): ArrayBuffer {
    return this.allocateBelow(size, this.highest, coherence);
  }

  /**
   * Allocates from the top, at a multiple of the power of two that holds the size. If the buffer has no such
   * multiple, an allocation of more than 1 MiB starts at a multiple of 1 MiB, so that one allocation can take the
   * whole buffer.
   */
  allocateBelow(size: number, limit: number, coherence: Coherence = 'coherent'): ArrayBuffer {
    if (this.#closed)
      throw new DmaError('ENODEV', 'the memory is closed', { remedy: 'open the device again' });
    checkSize(size, 'the size of an allocation');
    const pages = Math.ceil(size / this.pageSize);
    const page = size > constants.MAX_LENGTH ? -1 : this.#take(pages, limit);
    if (page < 0) throw this.#full(size, limit);
    const cached = coherence === 'noncoherent' && this.cache !== undefined;
    try {
      const buffer = this.#carve(page, size, cached);
      this.#live.set(buffer, { page, pages, size, cached, exported: false });
      return buffer;
    } catch (error) {
      this.#runs.give(page, pages);
      throw error;
    }
  }

  free(buffer: ArrayBuffer): void {
    const { page, pages, exported } = this.#find(buffer);
    this.#live.delete(buffer);
    const stolen = buffer.byteLength === 0;
    if (!stolen && detach(this.#addon, buffer) && !exported) this.#runs.give(page, pages);
    else this.#quarantined += pages * this.pageSize;
  }

  /**
   * A dma-buf over the pages of a live allocation (U_DMA_BUF_IOCTL_EXPORT), for another driver or process. It reaches
   * the pages as long as it is open, so they are not allocated again before this memory is closed.
   * @throws DmaError EINVAL not a live allocation of this memory · EOPNOTSUPP the module is too old · EMFILE
   */
  exportDmaBuf(buffer: ArrayBuffer): DmaBuf {
    const run = this.#find(buffer);
    const { control } = this.#parts;
    const fd = this.#addon.uDmaBufExport(control, this.#offset(run.page), run.pages * this.pageSize);
    if (fd < 0) throw exportError(this.device, fd);
    try {
      const dmaBuf = importDmaBuf(fd);
      run.exported = true;
      return dmaBuf;
    } finally {
      closeSync(fd);
    }
  }

  /**
   * Calling it twice is harmless. The module keeps the buffer, so a late access of the device hits no other memory.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { control, coherent, cached, channel } = this.#parts;
    channel?.close();
    for (const region of [coherent, cached, control]) {
      if (region !== undefined) this.#addon.regionRevoke(region);
    }
    for (const buffer of this.#live.keys()) detach(this.#addon, buffer);
    this.#live.clear();
    this.#quarantined = 0;
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #take(pages: number, limit: number): number {
    const last = Math.floor((limit + 1) / this.pageSize) - 1;
    const natural = powerOfTwoCeil(pages);
    const page = this.#runs.takeTop(pages, natural, last);
    const least = LEAST_ALIGN / this.pageSize;
    return page >= 0 || natural <= least ? page : this.#runs.takeTop(pages, least, last);
  }

  #carve(page: number, size: number, cached: boolean): ArrayBuffer {
    const { coherent, cached: cachedRegion } = this.#parts;
    this.#evict(page, Math.ceil(size / this.pageSize), cached);
    const buffer = this.#addon.regionCarve(cached ? cachedRegion! : coherent, this.#offset(page), size);
    if (typeof buffer !== 'number') return buffer;
    throw new DmaError(errnoName(buffer), `an ArrayBuffer of ${size} bytes cannot be made`, {
      remedy: 'ask for less at once; a runtime that refuses external buffers (Electron) cannot be used',
    });
  }

  /**
   * Removes the lines that earlier uses left in the cache. Otherwise the CPU could write them back over uncached
   * memory later, or read them instead of newer bytes in memory.
   */
  #evict(page: number, pages: number, cached: boolean): void {
    const { channel } = this.#parts;
    if (channel === undefined) return;
    const offset = this.#offset(page);
    const size = pages * this.pageSize;
    if (!cached) channel.sync(offset, size, 'bidirectional', 'device');
    channel.sync(offset, size, 'bidirectional', 'cpu');
  }

  #maintenance(channel: SyncChannel, lineSize: number): CacheMaintenance {
    const sync = (owner: 'cpu' | 'device'): CacheMaintenance['syncForCpu'] => {
      return (buffer, offset, size, direction) => {
        const run = this.#find(buffer as ArrayBuffer);
        checkRange(run.size, offset, size, direction);
        if (run.cached) channel.sync(this.#offset(run.page) + offset, size, direction, owner);
      };
    };
    return { lineSize, syncForCpu: sync('cpu'), syncForDevice: sync('device') };
  }

  /** Offset in bytes from the start of the buffer. */
  #offset(page: number): number {
    return page * this.pageSize - this.#parts.address;
  }

  #find(buffer: ArrayBuffer): Run {
    const run = this.#live.get(buffer);
    if (run !== undefined) return run;
    throw new DmaError('EINVAL', 'not a live allocation of this memory', {
      remedy: 'free it once, where it came from',
    });
  }

  #full(size: number, limit: number): DmaError {
    const { size: all } = this.#parts;
    const [range] = this.ranges;
    const where = limit < this.highest ? ` at or below address 0x${limit.toString(16)}` : '';
    const whole = `${this.device} has ${all} bytes from address 0x${range!.start.toString(16)}, ${this.available} free`;
    return new DmaError('ENOMEM', `no ${size} bytes in one piece${where} (${whole})`, {
      remedy: `free something, or load the module with a larger buffer (modprobe u-dma-buf ${this.device}=BYTES)`,
    });
  }
}

function exportError(device: string, errno: number): DmaError {
  const code = errnoName(errno);
  const syscall = 'U_DMA_BUF_IOCTL_EXPORT';
  if (code !== 'ENOTTY') {
    const remedy = code === 'EMFILE' ? 'raise the limit of open files (ulimit -n)' : 'see the kernel log';
    return new DmaError(code, `no dma-buf can be made of ${device}`, { syscall, remedy });
  }
  return new DmaError('EOPNOTSUPP', `the module behind ${device} exports no dma-buf`, {
    syscall,
    remedy: 'take a version of u-dma-buf with ioctl_version 2 or higher',
  });
}

/** @throws DmaError EINVAL */
function checkRange(length: number, offset: number, size: number, direction: DmaDirection): void {
  directionBits(direction);
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(size);
  if (whole && offset >= 0 && size > 0 && size <= length - offset) return;
  throw new DmaError(
    'EINVAL',
    `no ${describe(size)} bytes at offset ${describe(offset)} of ${length} bytes`,
    {
      remedy: 'sync a part of the buffer, at least one byte',
    },
  );
}
