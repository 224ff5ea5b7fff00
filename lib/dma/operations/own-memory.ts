/**
 * Memory that came from the device itself, or from another one in its domain: coherent and noncoherent buffers, and
 * what pools carve from them. It has an address already, so that mapping it is arithmetic.
 *
 *      view that we made      --- a stamp on the view ---------->  address           (a few ns)
 *      any other view of it   --- its buffer, a WeakMap -------->  region + offset   (tens of ns: `.buffer` is a call)
 *      device address         --- two levels of Int32Array ----->  region            (a few ns)
 */
import { DEVICE_READS, DEVICE_WRITES } from '../../direction.ts';
import type { DeviceRange } from './device-range.ts';

/**
 * The key of the stamp: a symbol property, not enumerable, so that printing and comparing views shows nothing of it.
 * A private field would need no check against copies, but asking a foreign view for one costs ten times as much.
 */
const STAMP = Symbol('userdma.address');

/** The stamp of a view that this library made. */
export interface Stamp {
  /** The view itself: a stamp copied to another object is not believed. */
  readonly view: Uint8Array;
  readonly region: OwnRegion;
  /** Where in the region the view starts. */
  readonly offset: number;
  /** Device address of the view's first byte. */
  readonly address: number;
  bigAddress: bigint | undefined;
}

interface Stamped {
  readonly [STAMP]?: Stamp;
}

export interface OwnRegionOptions {
  readonly buffer: ArrayBuffer;
  /** Where in the buffer it starts. Default 0; anything else is for declared memory only. */
  readonly byteOffset?: number | undefined;
  /** Device address of its first byte. */
  readonly address: number;
  /** Bytes, from `byteOffset` on. */
  readonly size: number;
  /** Bytes the device was given. */
  readonly span: number;
  /** Whether CPU and device see each other's writes without a sync. */
  readonly coherent: boolean;
  /** What the device may do there, as DEVICE_READS and DEVICE_WRITES bits. Default: both. */
  readonly bits?: number | undefined;
  /** Whether it was allocated as noncoherent memory, even if the device is coherent. Default false. */
  readonly noncoherent?: boolean | undefined;
  /**
   * Whether the driver declared it for the device: then its buffer holds other memory too, only views we handed out
   * have an address, and no mask has a say. Default false.
   */
  readonly declared?: boolean | undefined;
  /** The addresses it has, to be given back with it; undefined where the operations chose none for it. */
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
  /** The registry it is in; memory of another domain has no address here. Undefined once removed. */
  owner: OwnMemory | undefined;
  /** Its number in the page table, 0 while it is in none. */
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

/** Leaves of the page table hold 2^LEAF_BITS pages each. */
const LEAF_BITS = 10;
const LEAF_MASK = (1 << LEAF_BITS) - 1;
const WORD = 2 ** 32;

/** Directory of 4 GiB of addresses. */
type Directory = (Int32Array | undefined)[];

/** The memory of one device, or of all devices in a domain, by view, by buffer and by device address. */
export class OwnMemory {
  /** Bytes, a power of two that every address and span here is a multiple of. */
  readonly granule: number;
  private readonly shift: number;
  private readonly byBuffer = new WeakMap<ArrayBufferLike, OwnRegion>();
  /** Number in the page table -> region; 0 is none. */
  private readonly regions: (OwnRegion | undefined)[] = [undefined];
  private readonly freeIndices: number[] = [];
  private readonly low: Directory = [];
  private readonly high = new Map<number, Directory>();
  /** The directory above 4 GiB that was looked up last, and where it starts. */
  private lastHigh: Directory | undefined = undefined;
  private lastStart = 0;

  constructor(granule: number) {
    this.granule = granule;
    this.shift = Math.log2(granule);
  }

  /** Enter memory that the device has just been given. */
  add(options: OwnRegionOptions): OwnRegion {
    const region = new OwnRegion(this, options);
    region.index = this.freeIndices.pop() ?? this.regions.length;
    this.regions[region.index] = region;
    this.byBuffer.set(region.buffer, region);
    this.fill(region, region.index);
    return region;
  }

  /** Forget memory that is about to be taken from the device. Its stamped views have no address any more. */
  remove(region: OwnRegion): void {
    this.fill(region, 0);
    this.byBuffer.delete(region.buffer);
    this.regions[region.index] = undefined;
    this.freeIndices.push(region.index);
    region.index = 0;
    region.owner = undefined;
  }

  /** `remove` the region of this buffer, if there is one. */
  forget(buffer: ArrayBufferLike): void {
    const region = this.byBuffer.get(buffer);
    if (region !== undefined) this.remove(region);
  }

  /** Region and address of a view that was stamped; undefined when it was not, or its memory is not ours any more. */
  stampOf(view: ArrayBufferView): Stamp | undefined {
    const stamp = (view as Stamped)[STAMP];
    return stamp !== undefined && stamp.view === view && stamp.region.owner === this ? stamp : undefined;
  }

  /** The region a buffer belongs to. */
  regionOf(buffer: ArrayBufferLike): OwnRegion | undefined {
    return this.byBuffer.get(buffer);
  }

  /** Device address of a view's first byte, undefined when it is none, or its memory is not ours or no more. */
  addressOf(view: ArrayBufferView): bigint | undefined {
    const stamp = (view as Stamped | undefined)?.[STAMP];
    if (stamp !== undefined && stamp.view === view && stamp.region.owner === this) {
      if (stamp.view.length === 0) return undefined;
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
    const pageSize = 2 ** this.shift;
    const end = region.address + region.span;
    for (let address = region.address; address < end; ) {
      const page = (address >>> 0) >>> this.shift;
      const first = page & LEAF_MASK;
      const pages = Math.min(LEAF_MASK + 1 - first, (end - address) / pageSize);
      this.leaf(Math.floor(address / WORD), page >>> LEAF_BITS).fill(index, first, first + pages);
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
