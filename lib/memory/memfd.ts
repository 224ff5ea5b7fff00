/**
 * Memory for real devices: a few large sealed memfd regions, populated once, carved into ArrayBuffers.
 *
 *      region   [ run | run | free ........ | quarantined | run ]      each region knows its free runs of pages
 *
 * Invariants: a page belongs to at most one live ArrayBuffer. A run is not allocated again if its buffer could not be
 * detached (it was taken by `transfer()`, or marked untransferable). A free run may have an ArrayBuffer that rests
 * (resting.ts), which no program has. When a region is closed, anonymous memory takes its place, so that a view that is
 * still alive reaches no memory of a device.
 */

import { checkArrayLength, checkOptions, checkSize } from '../arguments.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { loadAddon } from '../native/load.ts';
import { detach, renew } from './detach.ts';
import { checkHugePages, type HugePages, noHugePages, pageKind } from './hugepages.ts';
import { checkNode, wantedNode } from './numa.ts';
import { PageRuns } from './page-runs.ts';
import { RestingBuffers } from './resting.ts';
import type { MemorySource } from './source.ts';

/** Options of MemfdMemory. */
export interface MemfdMemoryOptions {
  /** Default false. */
  readonly hugepages?: HugePages;
  /**
   * The NUMA node that the memory comes from while it has room. Afterwards it comes from others. Default: the kernel
   * decides.
   */
  readonly numaNode?: number;
}

/** The place of an allocation in a file. */
export interface MemoryFile {
  /** The descriptor of a sealed memfd. The memory owns it. */
  readonly fd: number;
  /** Offset of the first byte, whole pages. */
  readonly offset: number;
}

/** Bytes of an ordinary region. */
const REGION_SIZE = 2 * 1024 * 1024;
/** Empty regions are kept for reuse, up to this many bytes. */
const SPARE_LIMIT = 64 * 1024 * 1024;
/** The longest run, in bytes, whose buffer rests when it is freed. For a longer one the buffer costs less than its zeros. */
const RESTING_LIMIT = 64 * 1024;

interface Region {
  readonly handle: Handle;
  readonly pages: number;
  readonly runs: PageRuns;
  readonly resting: RestingBuffers;
}

interface Run {
  readonly region: Region;
  readonly page: number;
  readonly pages: number;
  /** True if another process or driver may hold its pages. */
  shared: boolean;
}

/** The open MemfdMemory objects of this environment. */
const opened = new Set<MemfdMemory>();

/** The MemfdMemory that owns a live allocation. */
export function memfdMemoryOf(buffer: ArrayBufferLike): MemfdMemory | undefined {
  for (const memory of opened) if (memory.fileOf(buffer) !== undefined) return memory;
  return undefined;
}

/** Memory from memfd files, of ordinary or of huge pages. */
export class MemfdMemory implements MemorySource {
  readonly name: 'memfd' | 'hugetlb';
  readonly pageSize: number;
  /** The NUMA node that the memory prefers; undefined if it prefers none. */
  readonly numaNode: number | undefined;
  readonly #node: number | undefined;
  readonly #addon: Addon;
  readonly #kind: boolean | number;
  readonly #mayFallBack: boolean;
  readonly #live = new Map<ArrayBuffer, Run>();
  #regions: Region[] = [];
  #spare = 0;
  #quarantined = 0;
  #closed = false;
  #fallback: DmaError | undefined;

  /** @throws DmaError ENOSYS the addon cannot be loaded · EINVAL not a kind of pages */
  constructor(options: MemfdMemoryOptions = {}) {
    checkOptions<MemfdMemoryOptions>(options, 'MemfdMemory', {
      hugepages: checkHugePages,
      numaNode: checkNode,
    });
    const { hugepages = false } = options;
    this.#addon = loadAddon();
    this.#kind = pageKind(hugepages);
    this.#mayFallBack = hugepages === 'prefer';
    this.name = hugepages ? 'hugetlb' : 'memfd';
    this.numaNode = options.numaNode;
    this.#node = wantedNode(options.numaNode);
    this.pageSize = this.#addon.pageSize();
    opened.add(this);
  }

  /** Why it has ordinary pages although the program preferred huge ones; undefined if it has none. */
  get fallback(): DmaError | undefined {
    return this.#fallback;
  }

  /** Bytes that are not used again, because the program or another process still holds them. */
  get quarantined(): number {
    return this.#quarantined;
  }

  allocate(size: number): ArrayBuffer {
    if (this.#closed)
      throw new DmaError('ENODEV', 'the memory is closed', { remedy: 'open the device again' });
    checkSize(size, 'the size of an allocation');
    checkArrayLength(size);
    const run = this.#take(Math.ceil(size / this.pageSize));
    const buffer = this.#rested(run, size) ?? this.#carve(run, size);
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
    if (!stolen && (this.#rest(buffer, run) || (detach(this.#addon, buffer) && this.#isOurs(run))))
      this.#give(run);
    else this.#quarantined += run.pages * this.pageSize;
  }

  /** The place of a live allocation; undefined for any other buffer. */
  fileOf(buffer: ArrayBufferLike): MemoryFile | undefined {
    const run = this.#live.get(buffer as ArrayBuffer);
    if (run === undefined) return undefined;
    return { fd: this.#addon.regionFd(run.region.handle), offset: run.page * this.pageSize };
  }

  /** Mark a live allocation: from here on another process or driver may hold its pages, without a time limit. */
  share(buffer: ArrayBufferLike): void {
    const run = this.#live.get(buffer as ArrayBuffer);
    if (run !== undefined) run.shared = true;
  }

  close(): void {
    this.#closed = true;
    opened.delete(this);
    for (const region of this.#regions) this.#revoke(region);
    for (const buffer of this.#live.keys()) detach(this.#addon, buffer);
    this.#regions = [];
    this.#live.clear();
    this.#spare = 0;
    this.#quarantined = 0;
  }

  /** The buffer that rests for a run, zeroed. */
  #rested({ region, page }: Run, size: number): ArrayBuffer | undefined {
    const buffer = region.resting.take(page, size);
    if (buffer !== undefined) this.#addon.regionZero(region.handle, page * this.pageSize, size);
    return buffer;
  }

  #carve(run: Run, size: number): ArrayBuffer {
    const buffer = this.#addon.regionCarve(run.region.handle, run.page * this.pageSize, size);
    if (typeof buffer !== 'number') return buffer;
    this.#give(run);
    throw new DmaError(errnoName(buffer), `an ArrayBuffer of ${size} bytes cannot be made`, {
      remedy: 'ask for less at once; a runtime that refuses external buffers (Electron) cannot be used',
    });
  }

  /** Detaches the buffer of a run, and keeps its memory in one that rests. False: nothing was done. */
  #rest(buffer: ArrayBuffer, { region, page, pages, shared }: Run): boolean {
    if (shared || pages * this.pageSize > RESTING_LIMIT) return false;
    const fresh = renew(this.#addon, buffer);
    if (fresh === undefined) return false;
    region.resting.put(page, fresh);
    return true;
  }

  #take(pages: number): Run {
    for (const region of this.#regions) {
      const unused = region.runs.free === region.pages;
      const page = region.runs.take(pages);
      if (page < 0) continue;
      if (unused) this.#spare -= region.pages * this.pageSize;
      return { region, page, pages, shared: false };
    }
    const region = this.#grow(pages);
    return { region, page: region.runs.take(pages), pages, shared: false };
  }

  /**
   * True if the pages of a run can be used again: no other process holds them, or the kernel replaced them by new
   * ones.
   */
  #isOurs({ region, page, pages, shared }: Run): boolean {
    if (!shared) return true;
    const replaced = this.#addon.regionReplace(region.handle, page * this.pageSize, pages * this.pageSize);
    // The kernel cannot replace a part of a huge page that another process holds, or any page when memory is short.
    return replaced === 0;
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
    this.#revoke(region);
  }

  #revoke(region: Region): void {
    this.#addon.regionRevoke(region.handle);
    region.resting.clear();
  }

  /** Adds a region with at least `pages` contiguous free pages. */
  #grow(pages: number): Region {
    const wanted = Math.max(pages * this.pageSize, REGION_SIZE);
    let handle = this.#addon.regionCreate(wanted, this.#kind, this.#node);
    if (this.#mayFallBack && (handle === ENOMEM || handle === ENODEV)) {
      const reason = noHugePages(wanted, this.#kind, handle);
      handle = this.#addon.regionCreate(wanted, false, this.#node);
      if (handle >= 0) this.#fallBack(reason);
    }
    if (handle < 0) throw this.#refused(wanted, handle);
    const total = this.#addon.regionSize(handle) / this.pageSize;
    const runs = new PageRuns(total);
    const region = { handle, pages: total, runs, resting: new RestingBuffers(this.#addon) };
    this.#regions.push(region);
    return region;
  }

  #fallBack(reason: DmaError): void {
    this.#fallback = reason;
    warnOnce(reason);
  }

  #refused(bytes: number, errno: number): DmaError {
    const code = errnoName(errno);
    const syscall = 'memfd_create';
    const short = code === 'ENOMEM' || code === 'ENODEV';
    if (short && this.#kind !== false && !this.#mayFallBack) return noHugePages(bytes, this.#kind, errno);
    if (code !== 'ENOMEM') {
      const remedy = code === 'EMFILE' ? 'raise the limit of open files (ulimit -n)' : 'check the kernel log';
      return new DmaError(code, `no memory region of ${bytes} bytes can be made`, { syscall, remedy });
    }
    return new DmaError(code, `${bytes} bytes of memory wanted, ${process.availableMemory()} available`, {
      syscall,
      remedy: 'ask for less or free something',
    });
  }
}

/** The native functions return these if there is no memory, or if there are no huge pages of a size. */
const ENOMEM = -12;
const ENODEV = -19;

let warned = false;

function warnOnce({ message }: DmaError): void {
  if (warned) return;
  warned = true;
  process.emitWarning(`ordinary pages are taken instead of huge ones: ${message}`, {
    code: 'USERDMA_HUGEPAGES',
  });
}
