/**
 * The memory that this device, or another one in its domain, allocated: coherent and noncoherent buffers, and the
 * chunks of pools. It has an address already, so that mapping it is arithmetic.
 *
 *      view that we made      --- a stamp on the view ---------->  address           (a few ns)
 *      any other view of it   --- its buffer, a Map ------------>  region + offset   (tens of ns: `.buffer` is a call)
 *      device address         --- two levels of Int32Array ----->  region            (a few ns)
 */
import { DEVICE_READS, DEVICE_WRITES } from '../../direction.ts';
import type { DeviceRange } from './device-range.ts';

/**
 * The key of the stamp. It is a symbol property that is not enumerable, so that printing and comparing views does not
 * show it. A private field would need no check against copies, but a look for one on a foreign view costs ten times
 * as much.
 */
const STAMP = Symbol('userdma.address');

/** The stamp of a view that this library made. */
export interface Stamp {
  /** The view itself: it exposes a stamp that was copied to another object. */
  readonly view: Uint8Array;
  readonly region: OwnRegion;
  /** The offset in the region at which the view starts. */
  readonly offset: number;
  /** The device address of the view's first byte. */
  readonly address: number;
  bigAddress: bigint | undefined;
}

interface Stamped {
  readonly [STAMP]?: Stamp;
}

export interface OwnRegionOptions {
  readonly buffer: ArrayBuffer;
  /** The offset in the buffer at which the region starts. Default 0. Only declared memory has another one. */
  readonly byteOffset?: number | undefined;
  /** The device address of the region's first byte. */
  readonly address: number;
  /** Bytes, from `byteOffset` on. */
  readonly size: number;
  /** Bytes that the device was given. */
  readonly span: number;
  /** True if the CPU and the device see each other's writes without a sync. */
  readonly coherent: boolean;
  /** The accesses of the device, as DEVICE_READS and DEVICE_WRITES bits. Default: both. */
  readonly bits?: number | undefined;
  /** True if the memory was allocated as noncoherent, even if the device is coherent. Default false. */
  readonly noncoherent?: boolean | undefined;
  /**
   * True if the driver declared the memory for the device. Then its buffer holds other memory too, only the views
   * that the library made have an address, and the masks do not apply. Default false.
   */
  readonly declared?: boolean | undefined;
  /**
   * The device addresses of the region, which are freed with it. It is undefined if the operations chose no address
   * for it.
   */
  readonly range?: DeviceRange | undefined;
}

/** One piece of memory with one device address. */
export class OwnRegion {
  readonly buffer: ArrayBuffer;
  readonly byteOffset: number;
  readonly address: number;
  readonly size: number;
  readonly span: number;
  readonly coherent: boolean;
  readonly bits: number;
  readonly noncoherent: boolean;
  readonly declared: boolean;
  readonly range: DeviceRange | undefined;
  /** The OwnMemory that holds the region. Memory of another domain has no address here. Undefined once removed. */
  owner: OwnMemory | undefined;
  /** The number in the page table. It is 0 while the region is in no table. */
  index = 0;

  constructor(owner: OwnMemory, options: OwnRegionOptions) {
    const { buffer, byteOffset = 0, address, size, span, coherent, bits } = options;
    const { noncoherent = false, declared = false } = options;
    this.owner = owner;
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.address = address;
    this.size = size;
    this.span = span;
    this.coherent = coherent;
    this.bits = bits ?? DEVICE_READS | DEVICE_WRITES;
    this.noncoherent = noncoherent;
    this.declared = declared;
    this.range = options.range;
  }

  /** A view of [offset, offset + size) that knows its device address. */
  view(offset: number, size: number): Uint8Array<ArrayBuffer> {
    const view = new Uint8Array(this.buffer, this.byteOffset + offset, size);
    const stamp: Stamp = {
      view,
      region: this,
      offset,
      address: this.address + offset,
      bigAddress: undefined,
    };
    Object.defineProperty(view, STAMP, { value: stamp });
    return view;
  }
}

/** Each leaf of the page table holds 2^LEAF_BITS pages. */
const LEAF_BITS = 10;
const LEAF_MASK = (1 << LEAF_BITS) - 1;
const WORD = 2 ** 32;

/** The leaves for 4 GiB of addresses. */
type Directory = (Int32Array | undefined)[];

/** The memory of one device, or of all devices in a domain, by view, by buffer and by device address. */
export class OwnMemory {
  /** Bytes, a power of two. Every address and span here is a multiple of it. */
  readonly granule: number;
  private readonly shift: number;
  private readonly byBuffer = new Map<ArrayBufferLike, OwnRegion>();
  /** The region of each number in the page table. The number 0 stands for no region. */
  private readonly regions: (OwnRegion | undefined)[] = [undefined];
  private readonly freeIndices: number[] = [];
  private readonly low: Directory = [];
  private readonly high = new Map<number, Directory>();
  /** The directory above 4 GiB that was looked up last, and the address where it starts. */
  private lastHigh: Directory | undefined = undefined;
  private lastStart = 0;

  constructor(granule: number) {
    this.granule = granule;
    this.shift = Math.log2(granule);
  }

  /** Enter memory that the device was just given. */
  add(options: OwnRegionOptions): OwnRegion {
    const region = new OwnRegion(this, options);
    region.index = this.freeIndices.pop() ?? this.regions.length;
    this.regions[region.index] = region;
    this.byBuffer.set(region.buffer, region);
    this.fill(region, region.index);
    return region;
  }

  /** Forget memory that is about to be taken from the device. Its stamped views have no address from here on. */
  remove(region: OwnRegion): void {
    this.fill(region, 0);
    this.byBuffer.delete(region.buffer);
    this.regions[region.index] = undefined;
    this.freeIndices.push(region.index);
    region.index = 0;
    region.owner = undefined;
  }

  /** Call `remove` for the region of this buffer, if there is one. */
  forget(buffer: ArrayBufferLike): void {
    const region = this.byBuffer.get(buffer);
    if (region !== undefined) this.remove(region);
  }

  /**
   * The region and address of a stamped view. It is undefined if the view has no stamp, or the memory is no longer
   * here.
   */
  stampOf(view: ArrayBufferView): Stamp | undefined {
    const stamp = (view as Stamped)[STAMP];
    return stamp !== undefined && stamp.view === view && stamp.region.owner === this ? stamp : undefined;
  }

  /**
   * As `stampOf`, for an element of a list. V8 remembers for each function what kinds of views it has met, and
   * `stampOf` meets so many that it becomes slow for lists, whose elements are of few kinds.
   */
  stampOfElement(view: ArrayBufferView): Stamp | undefined {
    const stamp = (view as Stamped)[STAMP];
    return stamp !== undefined && stamp.view === view && stamp.region.owner === this ? stamp : undefined;
  }

  /** The region that a buffer belongs to. */
  regionOf(buffer: ArrayBufferLike): OwnRegion | undefined {
    return this.byBuffer.get(buffer);
  }

  /**
   * The device address of a view's first byte. It is undefined for a value that is not a view, and for foreign or
   * freed memory.
   */
  addressOf(view: ArrayBufferView): bigint | undefined {
    const stamp = (view as Stamped | undefined)?.[STAMP];
    if (stamp !== undefined && stamp.view === view && stamp.region.owner === this) {
      // This is the view of the stamp. V8 has looked at the kind of `view` already, and would look at that of `stamp.view`.
      if ((view as Uint8Array).length === 0) return undefined;
      stamp.bigAddress ??= BigInt(stamp.address);
      return stamp.bigAddress;
    }
    const region = ArrayBuffer.isView(view) ? this.byBuffer.get(view.buffer) : undefined;
    // If the buffer is detached, reading the length or the offset of a DataView throws.
    if (region === undefined || region.buffer.byteLength === 0 || view.byteLength === 0) return undefined;
    return BigInt(region.address + view.byteOffset);
  }

  /** The region that holds a device address. */
  regionAt(address: number): OwnRegion | undefined {
    const low = address >>> 0;
    const directory = low === address ? this.low : this.directoryAt(address - low);
    const page = low >>> this.shift;
    const leaf = directory?.[page >>> LEAF_BITS];
    return leaf === undefined ? undefined : this.regions[leaf[page & LEAF_MASK]!];
  }

  /** The directory that starts at a multiple of 4 GiB. */
  private directoryAt(start: number): Directory | undefined {
    if (start !== this.lastStart) {
      this.lastHigh = this.high.get(start / WORD);
      this.lastStart = this.lastHigh === undefined ? 0 : start;
    }
    return this.lastHigh;
  }

  private fill(region: OwnRegion, index: number): void {
    const pageSize = this.granule;
    const end = region.address + region.span;
    for (let address = region.address; address < end; ) {
      const page = (address >>> 0) >>> this.shift;
      const first = page & LEAF_MASK;
      const pages = Math.min(LEAF_MASK + 1 - first, (end - address) / pageSize);
      const leaf = this.leaf(Math.floor(address / WORD), page >>> LEAF_BITS);
      // For one page the call of `fill` costs more than the rest.
      if (pages === 1) leaf[first] = index;
      else leaf.fill(index, first, first + pages);
      address += pages * pageSize;
    }
  }

  private leaf(word: number, index: number): Int32Array {
    const directory = word === 0 ? this.low : this.highDirectory(word);
    directory[index] ??= new Int32Array(LEAF_MASK + 1);
    return directory[index];
  }

  private highDirectory(word: number): Directory {
    const found = this.high.get(word);
    if (found !== undefined) return found;
    const directory: Directory = [];
    this.high.set(word, directory);
    return directory;
  }
}
