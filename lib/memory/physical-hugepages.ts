/**
 * UNSAFE memory for devices without an IOMMU: huge pages, at their physical addresses.
 *
 *      huge pages of the reservation --> regions --> zones --------------> allocations
 *      (vm.nr_hugepages)                 of one or   without a gap in      runs of pages
 *                                        more        physical memory       below a limit
 *
 * The addresses come from /proc/self/pagemap, which needs root. There is no protection. A device that gets a wrong
 * address reaches whatever memory is there. A device that still runs when this memory goes back to the kernel writes
 * into memory of other programs. The kernel keeps huge pages in place only while it has no reason to move them. It
 * moves them when memory is unplugged, and for `echo 1 > /proc/sys/vm/compact_memory` with movable huge pages. A
 * machine that does either must not use this class. Use `openPci` where there is an IOMMU, and u-dma-buf on boards.
 */

import { checkArrayLength, checkedLater, checkOptions, checkSize, describe } from '../arguments.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import { powerOfTwoCeil } from '../iommu/page-ranges.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { loadAddon } from '../native/load.ts';
import type { AddressedMemory } from './addressed.ts';
import { detach } from './detach.ts';
import { checkNode, wantedNode } from './numa.ts';
import { PageRuns } from './page-runs.ts';
import { physicalAddresses } from './pagemap.ts';

/** Options of PhysicalHugepages. */
export interface PhysicalHugepagesOptions {
  /**
   * The memory must start with some bytes at or below this address: a DMA mask, e.g. `dmaBitMask(28)`. Default:
   * anywhere.
   */
  readonly below?: bigint;
  /**
   * The NUMA node that the pages come from while it has some reserved. Default: the kernel decides. A function's node
   * is `describePci(address).numaNode`.
   */
  readonly numaNode?: number;
}

/** A part of one region that has no gap in physical memory. */
interface Zone {
  readonly region: Handle;
  /** The offset of its first byte in the region. */
  readonly offset: number;
  /** Physical addresses, both ends inclusive. */
  readonly range: IovaRange;
  /** Its free pages, numbered by their physical page number. */
  readonly runs: PageRuns;
}

interface Place {
  readonly zone: Zone;
  readonly address: number;
  readonly pages: number;
}

/** Huge pages with known physical addresses, for devices without an IOMMU. */
export class PhysicalHugepages implements AddressedMemory {
  readonly name = 'physical huge pages';
  /** The real capacity is known only when the reservation is used up. */
  readonly capacity = Number.MAX_SAFE_INTEGER;
  readonly pageSize: number;
  readonly #native: Addon;
  /** Ordered by address, the highest first. */
  #zones: Zone[] = [];
  readonly #live = new Map<ArrayBuffer, Place>();
  readonly #node: number | undefined;
  #quarantined = 0;
  #closed = false;

  /**
   * Takes a huge page, and keeps it until `close`. The pages that are added later are kept until then, too.
   * @throws DmaError ENOMEM none is reserved, or none below · EPERM not root · ENOSYS addon not built
   */
  constructor(options: PhysicalHugepagesOptions = {}) {
    checkOptions<PhysicalHugepagesOptions>(options, 'PhysicalHugepages', {
      below: checkedLater,
      numaNode: checkNode,
    });
    const { below = BigInt(Number.MAX_SAFE_INTEGER) } = options;
    this.#node = wantedNode(options.numaNode);
    this.#native = loadAddon();
    this.pageSize = this.#native.pageSize();
    this.#grow(1, limitOf(below));
  }

  get ranges(): readonly IovaRange[] {
    return this.#zones.map(({ range }) => range).reverse();
  }

  get highest(): number {
    return this.#zones[0]?.range.end ?? 0;
  }

  /** Bytes that are not used again, because the program still holds them. */
  get quarantined(): number {
    return this.#quarantined;
  }

  addressOf(buffer: ArrayBuffer): number {
    return this.#place(buffer).address;
  }

  /** Allocates from the top, and so leaves low memory for devices that reach nothing else. */
  allocate(size: number): ArrayBuffer {
    return this.allocateBelow(size, Number.MAX_SAFE_INTEGER);
  }

  /** Adds huge pages until there is room at or below `limit`, or no huge page is left. */
  allocateBelow(size: number, limit: number): ArrayBuffer {
    this.#checkOpen();
    checkSize(size, 'the size of an allocation');
    checkArrayLength(size);
    const pages = Math.ceil(size / this.pageSize);
    const place = this.#take(pages, limit) ?? this.#takeFromMore(pages, limit);
    const { zone, address } = place;
    const offset = zone.offset + (address - zone.range.start);
    const buffer = this.#native.regionCarve(zone.region, offset, size);
    if (typeof buffer === 'number') {
      this.#give(place);
      throw new DmaError(errnoName(buffer), `an ArrayBuffer of ${size} bytes cannot be made`, {
        remedy: 'ask for less at once; a runtime that refuses external buffers (Electron) cannot be used',
      });
    }
    this.#live.set(buffer, place);
    return buffer;
  }

  free(buffer: ArrayBuffer): void {
    const place = this.#place(buffer);
    this.#live.delete(buffer);
    const stolen = buffer.byteLength === 0;
    if (!stolen && detach(this.#native, buffer)) this.#give(place);
    else this.#quarantined += place.pages * this.pageSize;
  }

  close(): void {
    this.#closed = true;
    for (const region of new Set(this.#zones.map((zone) => zone.region))) this.#native.regionRevoke(region);
    for (const buffer of this.#live.keys()) detach(this.#native, buffer);
    this.#zones = [];
    this.#live.clear();
    this.#quarantined = 0;
  }

  #take(pages: number, limit: number): Place | undefined {
    const align = powerOfTwoCeil(pages);
    const last = Math.floor((limit + 1) / this.pageSize) - 1;
    for (const zone of this.#zones) {
      const page = zone.runs.takeTop(pages, align, last);
      if (page >= 0) return { zone, address: page * this.pageSize, pages };
    }
    return undefined;
  }

  #give({ zone, address, pages }: Place): void {
    zone.runs.give(address / this.pageSize, pages);
  }

  #takeFromMore(pages: number, limit: number): Place {
    this.#grow(pages, limit);
    return this.#take(pages, limit)!;
  }

  /**
   * Adds a region in which `pages` fit at or below `limit`. The kernel does not tell the address of a huge page
   * before it gives the page. So this function holds the unsuitable ones until it gets a suitable one, and then gives
   * them back. Otherwise the kernel would give the same ones again.
   * @throws DmaError ENOMEM there is none; nothing has changed
   */
  #grow(pages: number, limit: number): void {
    const unfit: Handle[] = [];
    try {
      for (;;) {
        const region = this.#native.regionCreate(pages * this.pageSize, true, this.#node);
        if (region < 0) throw refused(region, pages * this.pageSize, limit, unfit.length);
        unfit.push(region);
        const zones = this.#zonesOf(region);
        if (!zones.some((zone) => fits(zone, pages * this.pageSize, limit))) continue;
        unfit.pop();
        this.#zones = [...this.#zones, ...zones].sort((a, b) => b.range.start - a.range.start);
        return;
      }
    } finally {
      for (const region of unfit) this.#native.regionRevoke(region);
    }
  }

  /** The parts of a region that have no gap in physical memory, in the order of the region. */
  #zonesOf(region: Handle): Zone[] {
    const pages = this.#native.regionSize(region) / this.pageSize;
    const addresses = physicalAddresses(this.#native.regionAddress(region), pages, this.pageSize);
    const parts: { offset: number; start: number; end: number }[] = [];
    addresses.forEach((address, page) => {
      const last = parts.at(-1);
      if (last !== undefined && last.end + 1 === address) last.end += this.pageSize;
      else parts.push({ offset: page * this.pageSize, start: address, end: address + this.pageSize - 1 });
    });
    return parts.map(({ offset, start, end }) => {
      const runs = new PageRuns((end + 1 - start) / this.pageSize, start / this.pageSize);
      return { region, offset, range: { start, end }, runs };
    });
  }

  #place(buffer: ArrayBuffer): Place {
    const place = this.#live.get(buffer);
    if (place !== undefined) return place;
    throw new DmaError('EINVAL', 'not a live allocation of this memory', {
      remedy: 'free it once, where it came from',
    });
  }

  #checkOpen(): void {
    if (this.#closed)
      throw new DmaError('ENODEV', 'the memory is closed', { remedy: 'open the device again' });
  }
}

/** True if `bytes`, at a multiple of their power of two, fit in an empty zone at or below `limit`. */
function fits({ range }: Zone, bytes: number, limit: number): boolean {
  const align = powerOfTwoCeil(bytes);
  const end = Math.ceil(range.start / align) * align + bytes - 1;
  return end <= range.end && end <= limit;
}

function limitOf(below: bigint): number {
  if (typeof below === 'bigint' && below > 0n) {
    return below > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(below);
  }
  throw new DmaError('EINVAL', `${describe(below)} is no address to be below`, {
    remedy: 'pass a DMA mask, e.g. dmaBitMask(28)',
  });
}

function refused(errno: number, bytes: number, limit: number, others: number): DmaError {
  const code = errnoName(errno);
  const about = { syscall: 'memfd_create' };
  if (code !== 'ENOMEM') {
    const remedy = code === 'EMFILE' ? 'raise the limit of open files (ulimit -n)' : 'check the kernel log';
    return new DmaError(code, `huge pages for ${bytes} bytes cannot be allocated`, { ...about, remedy });
  }
  const where = limit === Number.MAX_SAFE_INTEGER ? '' : ` at or below address 0x${limit.toString(16)}`;
  const seen = others > 0 ? `: the rest of the reservation (${others} times) is too high, or in pieces` : '';
  return new DmaError(code, `no huge pages for ${bytes} bytes${where} are free${seen}`, {
    ...about,
    remedy:
      'reserve more (sysctl vm.nr_hugepages=N); at boot (hugepages=N on the kernel command line) they are more ' +
      'likely to be low and without gaps',
  });
}
