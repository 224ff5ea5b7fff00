/**
 * A simulated IOMMU. The driver sees the rules and errno of type1. The device sees page tables.
 *
 * An access of the device that fails does the same as on hardware: a read gets zeros, a write is dropped, and the
 * device is not told. In addition, the simulation records the fault. It enforces write-only mappings, as AMD's and
 * virtio's IOMMUs do and Intel's and Arm's do not. It also enforces the end of a buffer inside its last page, which
 * no hardware does.
 */
import { argumentError, checkArrayLength, describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { checkPageSize } from '../page-size.ts';
import type { Access } from './access.ts';
import type { AddressSpace, IovaRange, MmioWindow } from './address-space.ts';
import { faultAddress, nearestNumber, wholeAddress } from './bus-address.ts';
import type { AccessObserver, Requester } from './device-access.ts';
import { FAULT, type Fault, FaultLog } from './fault.ts';
import { PageTable } from './page-table.ts';
import { MemoryTarget, RegisterTarget, registersBehind, type Target } from './simulated-target.ts';

/** The ranges that Intel VT-d with 39-bit addresses reports: the MSI range 0xfee00000-0xfeefffff is reserved. */
const INTEL_RANGES: readonly IovaRange[] = [
  { start: 0, end: 0xfedfffff },
  { start: 0xfef00000, end: 0x7fffffffff },
];

export interface SimulatedAddressSpaceOptions {
  /** Usable addresses, ascending, disjoint, below 2^53. Default: Intel VT-d's. */
  readonly ranges?: readonly IovaRange[];
  /** Bytes, a power of two. Default 4096. */
  readonly pageSize?: number;
  /** The number of mappings that may exist at once (vfio_iommu_type1's dma_entry_limit). Default 65,535. */
  readonly mappingLimit?: number;
  /** True if memory that came from no MemorySource can be mapped in place. Default true. */
  readonly pinsForeignMemory?: boolean;
  /** The offset of a buffer's first byte in its page, as hardware would have it. Default: 0. */
  readonly pageOffset?: (buffer: ArrayBufferLike) => number;
  /** The device's view of bytes [offset, offset + size) of a buffer. Default: the bytes that the CPU sees. */
  readonly deviceView?: (buffer: ArrayBufferLike, offset: number, size: number) => Uint8Array;
  /** The reason of a fault where nothing is mapped. Default `FAULT.notMapped`. */
  readonly nothingThere?: string;
  readonly faults?: FaultLog;
}

interface Mapping {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Exclusive: the address at which the memory or the registers behind the mapping end. */
  readonly dataEnd: number;
  readonly target: Target;
  readonly access: Access;
}

/** Moves `size` bytes between `target` at byte `at` of its mapping and the device's data at `done`. */
type Move = (target: Target, at: number, done: number, size: number) => void;

/** An address space and, in itself, the requester of the one device in it. */
export class SimulatedAddressSpace implements AddressSpace, Requester {
  readonly name = 'simulated';
  /** If a buffer is detached while it is mapped, the device cannot reach it from then on. */
  readonly pinsForeignMemory: boolean;
  readonly pageSize: number;
  readonly ranges: readonly IovaRange[];
  readonly faults: FaultLog;
  onAccess: AccessObserver | undefined = undefined;
  readonly #mappingLimit: number;
  readonly #pageOffset: (buffer: ArrayBufferLike) => number;
  readonly #deviceView: (buffer: ArrayBufferLike, offset: number, size: number) => Uint8Array;
  readonly #nothingThere: string;
  readonly #table: PageTable<Mapping>;
  readonly #mappings = new Set<Mapping>();
  #bytes = 0;
  #closed = false;

  /** @throws DmaError EINVAL if the page size is not a power of two, or the ranges are not ascending */
  constructor(options: SimulatedAddressSpaceOptions = {}) {
    const {
      ranges = INTEL_RANGES,
      pageSize = 4096,
      mappingLimit = 65_535,
      pinsForeignMemory = true,
      pageOffset = () => 0,
      deviceView = (buffer, offset, size) => new Uint8Array(buffer, offset, size),
      nothingThere = FAULT.notMapped,
      faults = new FaultLog(),
    } = options;
    checkPageSize(pageSize);
    checkRanges(ranges);
    this.pageSize = pageSize;
    this.ranges = ranges;
    this.faults = faults;
    this.pinsForeignMemory = pinsForeignMemory;
    this.#pageOffset = pageOffset;
    this.#deviceView = deviceView;
    this.#nothingThere = nothingThere;
    this.#mappingLimit = mappingLimit;
    this.#table = new PageTable(pageSize);
  }

  /** The number and the bytes of the mappings. */
  get stats(): { readonly mappings: number; readonly bytes: number } {
    return { mappings: this.#mappings.size, bytes: this.#bytes };
  }

  pageOffset(buffer: ArrayBufferLike): number {
    const { byteLength, resizable } = buffer as ArrayBufferLike & { readonly resizable?: boolean };
    if (byteLength > 0 && resizable !== true) return this.#pageOffset(buffer);
    throw new DmaError('EINVAL', resizable ? 'the buffer is resizable' : 'the buffer is empty or detached', {
      remedy: 'pass a live buffer of fixed length',
    });
  }

  map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    this.#checkMap(iova, size, access, offset, this.#pageOffset(buffer));
    this.#checkBacked(buffer, offset, size);
    const start = Math.min(offset, buffer.byteLength);
    const length = Math.min(size, buffer.byteLength - start);
    checkArrayLength(length);
    const memory = new Uint8Array(buffer, start, length);
    this.#insert(iova, size, access, new MemoryTarget(memory, this.#deviceView(buffer, start, length)));
  }

  mapWindow(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    this.#checkMap(iova, size, access, offset, 0);
    this.#insert(iova, size, access, new RegisterTarget(registersBehind(window, offset, size), offset));
  }

  unmap(iova: number, size: number): number {
    this.#checkOpen();
    this.#checkAligned(iova, size, 0, 0);
    const end = iova + size;
    const whole = this.#table.get(iova);
    if (whole !== undefined && whole.start === iova && whole.end === end) {
      this.#remove(whole);
      return size;
    }
    const inside = this.#mappingsIn(iova, end);
    if (inside.some((mapping) => mapping.start < iova || mapping.end > end)) {
      throw new DmaError('EINVAL', `${span(iova, size)} would cut a mapping in two`, {
        remedy: 'unmap what was mapped, whole',
      });
    }
    let removed = 0;
    for (const mapping of inside) {
      removed += mapping.end - mapping.start;
      this.#remove(mapping);
    }
    return removed;
  }

  close(): void {
    if (this.#closed) return;
    for (const mapping of [...this.#mappings]) this.#remove(mapping);
    this.#closed = true;
  }

  /**
   * The device reads memory into `into`. Where it may not read, it gets zeros, and the result is false. Never throws.
   * @param high see `DeviceBus.dmaRead`
   */
  read(
    address: bigint | number,
    into: Uint8Array,
    requester: Requester = this,
    high: number | undefined = undefined,
  ): boolean {
    const size = into.length;
    if (requester.onAccess !== undefined) {
      this.#announce(requester, wholeAddress(address, high), size, 'read', undefined);
    }
    // Nearly every access stays within one mapping. This path makes no garbage and calls nothing else.
    const at = nearestNumber(address, high);
    const mapping = this.#table.page(Math.floor(at / this.pageSize));
    if (mapping === undefined || at + size > mapping.dataEnd || !answers(mapping, 'read')) {
      return this.#readPieces(wholeAddress(address, high), into, requester);
    }
    mapping.target.read(at - mapping.start, into);
    return true;
  }

  /**
   * The device writes `from` to memory. Where it may not write, nothing changes, and the result is false. Otherwise
   * as `read`.
   */
  write(
    address: bigint | number,
    from: Uint8Array,
    requester: Requester = this,
    high: number | undefined = undefined,
  ): boolean {
    const size = from.length;
    if (requester.onAccess !== undefined) {
      this.#announce(requester, wholeAddress(address, high), size, 'write', from);
    }
    const at = nearestNumber(address, high);
    const mapping = this.#table.page(Math.floor(at / this.pageSize));
    if (mapping === undefined || at + size > mapping.dataEnd || !answers(mapping, 'write')) {
      return this.#writePieces(wholeAddress(address, high), from, requester);
    }
    mapping.target.write(at - mapping.start, from);
    return true;
  }

  /** True if the device may now do that access everywhere in [address, address + size). */
  answers(address: bigint | number, size: number, access: 'read' | 'write'): boolean {
    return this.#walk(
      address,
      size,
      access,
      () => {},
      () => {},
    );
  }

  #readPieces(address: bigint | number, into: Uint8Array, requester: Requester): boolean {
    into.fill(0);
    const move: Move = (target, from, done, size) => target.read(from, into.subarray(done, done + size));
    const record = (fault: Fault): void => requester.faults.record(fault);
    return this.#walk(address, into.length, 'read', move, record, requester.readGranule);
  }

  #writePieces(address: bigint | number, from: Uint8Array, requester: Requester): boolean {
    const move: Move = (target, to, done, size) => target.write(to, from.subarray(done, done + size));
    return this.#walk(address, from.length, 'write', move, (fault) => requester.faults.record(fault));
  }

  #announce(
    requester: Requester,
    address: bigint | number,
    size: number,
    access: 'read' | 'write',
    bytes: Uint8Array | undefined,
  ): void {
    if (size === 0) return;
    const { about } = requester.faults;
    let fault: Fault | undefined;
    const keepFirst = (next: Fault): void => {
      fault ??= next;
    };
    const granule = access === 'read' ? requester.readGranule : 1;
    this.#walk(address, size, access, () => {}, keepFirst, granule);
    const { readGranule = 1 } = requester;
    requester.onAccess!({ address, size, access, bytes, fault, about, readGranule });
  }

  /** Returns true if the whole access succeeded. @param granule see `FunctionDescription.readGranule` */
  #walk(
    address: bigint | number,
    size: number,
    access: 'read' | 'write',
    move: Move,
    fail: (fault: Fault) => void,
    granule = 1,
  ): boolean {
    const start = Number(address);
    if (!(start >= 0 && start % 1 === 0 && start + size <= Number.MAX_SAFE_INTEGER)) {
      fail({ address: faultAddress(address), size, access, reason: this.#nothingThere });
      return false;
    }
    // Neighbouring pieces that fail for the same reason are one fault.
    let failed = 0;
    let whole = true;
    let why = '';
    const report = (until: number): void => {
      if (failed > 0) fail({ address: BigInt(until - failed), size: failed, access, reason: why });
      failed = 0;
    };
    for (let done = 0; done < size; ) {
      const at = start + done;
      const { mapping, end, reason: refusal } = this.#resolve(at, access);
      const piece = Math.min(size - done, end - at);
      // This is the rest of a piece that the device reads whole. The device does not use these bytes.
      const isRest = refusal === FAULT.pastEnd && piece <= (granule - (at % granule)) % granule;
      const reason = isRest ? '' : refusal;
      if (reason !== why) report(at);
      if (refusal === '') move(mapping!.target, at - mapping!.start, done, piece);
      else failed += piece;
      whole &&= reason === '';
      why = reason;
      done += piece;
    }
    report(start + size);
    return whole;
  }

  /** The mapping at `at`, the address up to which this result is valid, and the reason if the access is refused. */
  #resolve(at: number, access: 'read' | 'write'): { mapping?: Mapping; end: number; reason: string } {
    const mapping = this.#table.get(at);
    if (mapping === undefined) {
      return { end: (Math.floor(at / this.pageSize) + 1) * this.pageSize, reason: this.#nothingThere };
    }
    const { end, dataEnd, target } = mapping;
    if (mapping.access !== 'read-write' && mapping.access !== access) {
      return { end, reason: access === 'read' ? FAULT.noRead : FAULT.noWrite };
    }
    const { refusal } = target;
    if (refusal !== '') return { end, reason: refusal };
    return at < dataEnd ? { mapping, end: dataEnd, reason: '' } : { end, reason: FAULT.pastEnd };
  }

  #remove(mapping: Mapping): void {
    const size = mapping.end - mapping.start;
    this.#mappings.delete(mapping);
    this.#table.clear(mapping.start, size);
    this.#bytes -= size;
  }

  /** True if a mapping touches [start, start + size). */
  #isMapped(start: number, size: number): boolean {
    if (size === this.pageSize) return this.#table.get(start) !== undefined;
    return this.#mappingsIn(start, start + size).length > 0;
  }

  /** Mappings that touch [start, end). It looks at the pages or at all mappings, whichever is less work. */
  #mappingsIn(start: number, end: number): Mapping[] {
    if ((end - start) / this.pageSize > this.#mappings.size) {
      return [...this.#mappings].filter((mapping) => mapping.start < end && mapping.end > start);
    }
    const found: Mapping[] = [];
    for (let at = start; at < end; ) {
      const mapping = this.#table.get(at);
      if (mapping !== undefined) found.push(mapping);
      at = mapping?.end ?? at + this.pageSize;
    }
    return found;
  }

  #insert(start: number, size: number, access: Access, target: Target): void {
    const end = start + size;
    const mapping = { start, end, dataEnd: Math.min(end, start + target.length), target, access };
    this.#table.set(start, size, mapping);
    this.#mappings.add(mapping);
    this.#bytes += size;
  }

  /**
   * The order of the checks is that of vfio_dma_do_map, so that a call with two errors fails with the kernel's errno.
   */
  #checkMap(iova: number, size: number, access: Access, offset: number, pageOffset: number): void {
    this.#checkOpen();
    this.#checkAligned(iova, size, offset, pageOffset);
    if (access !== 'read' && access !== 'write' && access !== 'read-write') {
      throw new DmaError('EINVAL', `access is ${describe(access)}`, {
        remedy: `pass 'read', 'write' or 'read-write'`,
      });
    }
    if (this.#isMapped(iova, size)) {
      throw new DmaError('EEXIST', `${span(iova, size)} overlaps a mapping`, { remedy: 'unmap that first' });
    }
    if (this.#mappings.size >= this.#mappingLimit) {
      throw new DmaError('ENOSPC', `all ${this.#mappingLimit} mappings are in use`, {
        remedy: 'map fewer, larger pieces, or raise the limit',
      });
    }
    this.#checkInRange(iova, size);
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new DmaError('ENODEV', 'the address space is closed', { remedy: 'open the device again' });
  }

  #checkAligned(iova: number, size: number, offset: number, pageOffset: number): void {
    const { pageSize } = this;
    const start = offset >= 0 ? pageOffset + offset : offset;
    const aligned = isAligned(iova, pageSize) && isAligned(start, pageSize) && isAligned(size, pageSize);
    if (aligned && size > 0 && Number.isSafeInteger(iova + size)) return;
    throw new DmaError(
      'EINVAL',
      `iova ${describe(iova)}, size ${describe(size)}, offset ${describe(offset)}`,
      {
        remedy: `iova, size and ${pageOffset} + offset are multiples of ${this.pageSize}, and the size is not 0`,
      },
    );
  }

  #checkInRange(iova: number, size: number): void {
    if (this.ranges.some(({ start, end }) => iova >= start && iova + size - 1 <= end)) return;
    throw new DmaError('EINVAL', `${span(iova, size)} is outside the usable ranges`, {
      remedy: `stay inside ${this.ranges.map(({ start, end }) => span(start, end - start + 1)).join(' or ')}`,
    });
  }

  #checkBacked(buffer: ArrayBufferLike, offset: number, size: number): void {
    const before = this.#pageOffset(buffer);
    const pages = Math.ceil((before + buffer.byteLength) / this.pageSize) * this.pageSize;
    if (before + offset + size <= pages) return;
    throw new DmaError('EFAULT', `bytes ${span(offset, size)} of a buffer of ${buffer.byteLength}`, {
      remedy: 'map no more than the pages the buffer occupies',
    });
  }
}

/** The quotient by a power of two is exact. V8 calls a function for the remainder of a number beyond 32 bits. */
function isAligned(value: number, pageSize: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && Number.isInteger(value / pageSize);
}

/** True if the target exists and allows the wanted access. */
function answers({ access, target }: Mapping, wanted: 'read' | 'write'): boolean {
  return (access === 'read-write' || access === wanted) && target.refusal === '';
}

/** Throws DmaError EINVAL unless `ranges` are address ranges that a device can use. */
function checkRanges(ranges: unknown, what = 'the ranges of addresses'): void {
  if (!Array.isArray(ranges)) throw argumentError(what, ranges, 'pass an array of { start, end }');
  let previous = -1;
  for (const range of ranges as readonly IovaRange[]) {
    const { start, end } = range ?? {};
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start <= previous || end < start) {
      const bigint = typeof start === 'bigint' || typeof end === 'bigint';
      throw new DmaError('EINVAL', `an IOVA range from ${describe(start)} to ${describe(end)}`, {
        remedy: `give ${bigint ? 'numbers, not bigints: ' : ''}whole numbers below 2^53, both ends inclusive, ascending and disjoint`,
      });
    }
    previous = end;
  }
}

function span(start: number, size: number): string {
  return `0x${start.toString(16)}-0x${(start + size - 1).toString(16)}`;
}
