/**
 * Memory for real devices: few large sealed memfd regions, populated once, carved into ArrayBuffers.
 *
 *      region   [ run | run | free ........ | quarantined | run ]      free runs of pages known for each
 *
 * Invariants: a page belongs to at most one live ArrayBuffer; a run whose buffer could not be killed (stolen by
 * `transfer()`, or marked untransferable) is not given out again; a region that is closed has anonymous memory in
 * its place, so that views which survived it reach nothing a device sees.
 */
import { constants } from 'node:buffer';
import { checkSize, DmaError, errnoName } from '../errors.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { loadAddon } from '../native/load.ts';
import { PageRuns } from './page-runs.ts';
import type { MemorySource } from './source.ts';

export interface MemfdMemoryOptions {
  /** Take huge pages of the system's default size. Default false. */
  readonly hugepages?: boolean;
}

/** Bytes of an ordinary region. */
const REGION_SIZE = 2 * 1024 * 1024;
/** Emptied regions are kept for reuse up to this many bytes. */
const SPARE_LIMIT = 64 * 1024 * 1024;

interface Region {
  readonly handle: Handle;
  readonly pages: number;
  readonly runs: PageRuns;
}

interface Run {
  readonly region: Region;
  readonly page: number;
  readonly pages: number;
}

export class MemfdMemory implements MemorySource {
  readonly name: 'memfd' | 'hugetlb';
  readonly pageSize: number;
  readonly #addon: Addon;
  readonly #live = new Map<ArrayBuffer, Run>();
  #regions: Region[] = [];
  #spare = 0;
  #quarantined = 0;
  #closed = false;

  /** @throws DmaError ENOSYS when the addon cannot be loaded */
  constructor({ hugepages = false }: MemfdMemoryOptions = {}) {
    this.#addon = loadAddon();
    this.name = hugepages ? 'hugetlb' : 'memfd';
    this.pageSize = this.#addon.pageSize();
  }

  /** Bytes kept out of reuse because somebody still holds them. */
  get quarantined(): number {
    return this.#quarantined;
  }

  allocate(size: number): ArrayBuffer {
    if (this.#closed)
      throw new DmaError('ENODEV', 'the memory is closed', { remedy: 'open the device again' });
    checkSize(size, 'the size of an allocation');
    if (size > constants.MAX_LENGTH) {
      throw new DmaError('ENOMEM', `${size} bytes wanted, one ArrayBuffer can have ${constants.MAX_LENGTH}`, {
        remedy: 'allocate it in pieces',
      });
    }
    const run = this.#take(Math.ceil(size / this.pageSize));
    const buffer = this.#addon.regionCarve(run.region.handle, run.page * this.pageSize, size);
    if (typeof buffer === 'number') {
      this.#give(run);
      throw new DmaError(errnoName(buffer), `no ArrayBuffer of ${size} bytes can be had`, {
        remedy: 'ask for less at once; a runtime that refuses external buffers (Electron) cannot be used',
      });
    }
    this.#live.set(buffer, run);
    return buffer;
  }

  free(buffer: ArrayBuffer): void {
    const run = this.#live.get(buffer);
    if (run === undefined) {
      throw new DmaError('EINVAL', 'not a live allocation of this memory', {
        remedy: 'free it once, where it came from',
      });
    }
    this.#live.delete(buffer);
    const stolen = buffer.byteLength === 0;
    if (!stolen && this.#detach(buffer)) this.#give(run);
    else this.#quarantined += run.pages * this.pageSize;
  }

  close(): void {
    this.#closed = true;
    for (const region of this.#regions) this.#addon.regionRevoke(region.handle);
    for (const buffer of this.#live.keys()) this.#detach(buffer);
    this.#regions = [];
    this.#live.clear();
    this.#spare = 0;
    this.#quarantined = 0;
  }

  #take(pages: number): Run {
    for (const region of this.#regions) {
      const unused = region.runs.free === region.pages;
      const page = region.runs.take(pages);
      if (page < 0) continue;
      if (unused) this.#spare -= region.pages * this.pageSize;
      return { region, page, pages };
    }
    const region = this.#grow(pages);
    return { region, page: region.runs.take(pages), pages };
  }

  #give({ region, page, pages }: Run): void {
    region.runs.give(page, pages);
    if (region.runs.free < region.pages) return;
    const bytes = region.pages * this.pageSize;
    if (this.#spare + bytes <= SPARE_LIMIT) {
      this.#spare += bytes;
      return;
    }
    this.#regions.splice(this.#regions.indexOf(region), 1);
    this.#addon.regionRevoke(region.handle);
  }

  /** A new region with at least `pages` in one piece, all free. */
  #grow(pages: number): Region {
    const wanted = Math.max(pages * this.pageSize, REGION_SIZE);
    const handle = this.#addon.regionCreate(wanted, this.name === 'hugetlb');
    if (handle < 0) throw this.#refused(wanted, handle);
    const total = this.#addon.regionSize(handle) / this.pageSize;
    const region = { handle, pages: total, runs: new PageRuns(total) };
    this.#regions.push(region);
    return region;
  }

  #refused(bytes: number, errno: number): DmaError {
    const code = errnoName(errno);
    const syscall = 'memfd_create';
    if (code !== 'ENOMEM') {
      const remedy = code === 'EMFILE' ? 'raise the limit of open files (ulimit -n)' : 'check the kernel log';
      return new DmaError(code, `no memory region of ${bytes} bytes can be made`, { syscall, remedy });
    }
    if (this.name === 'hugetlb') {
      return new DmaError(code, `no huge pages for ${bytes} bytes`, {
        syscall,
        remedy: 'reserve some (sysctl vm.nr_hugepages=N) or open without hugepages',
      });
    }
    return new DmaError(code, `${bytes} bytes of memory wanted, ${process.availableMemory()} available`, {
      syscall,
      remedy: 'ask for less or free something',
    });
  }

  /** Every view of the buffer has length 0 afterwards; false when somebody made that impossible. */
  #detach(buffer: ArrayBuffer): boolean {
    // Native detaching aborts the process on Node 24 and 26 when the buffer was marked untransferable.
    if (transfer === undefined) return this.#addon.detach(buffer) >= 0;
    try {
      transfer.call(buffer, 0);
    } catch {
      // Marked untransferable, or already detached.
    }
    return buffer.byteLength === 0;
  }
}

/** Node 22 and later. Taken once, so that nobody's later patch of the prototype is called. */
const transfer = (ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, size: number) => ArrayBuffer })
  .transfer;
