/**
 * Memory that the driver declares for its device (dma_declare_coherent_memory, kernel/dma/coherent.c): on a board of
 * its own, set aside by firmware, or a buffer that other code made reachable. Coherent memory and pools use it before
 * other memory. Declaring maps nothing: the driver states the address at which the device sees the memory.
 *
 *      memory   [ page | page | page | page | ... ]   a buffer, or part of a BAR
 *                 ^ deviceAddress                     runs of powers of two of pages, first fit
 */
import { constants } from 'node:buffer';
import { checkBoolean, checkOptions, checkSize, describe } from '../../arguments.ts';
import { DEVICE_READS, DEVICE_WRITES } from '../../direction.ts';
import { DmaError } from '../../errors.ts';
import { type OwnMemory, OwnRegion } from '../operations/own-memory.ts';
import { bytesOf, emptyView, mappableBytes } from '../words/mappable.ts';
import { type IoPlace, type IoRegisters, zeroIo } from './io.ts';
import { DeclaredPages, runOf } from './pages.ts';

/** Part of a BAR: memory that the CPU reaches by single accesses only (DMA_MEMORY_IO). */
export interface IoMemory {
  readonly bar: IoRegisters;
  /** The offset in the BAR of the first byte, a multiple of 8. */
  readonly offset: number;
}

/** Memory that can be declared, from any source or from the driver itself. */
export type DeclarableMemory = ArrayBuffer | ArrayBufferView | IoMemory;

/** Options of `declareCoherentMemory`. */
export interface DeclareOptions {
  /**
   * If true, allocations that do not fit fail (the only way since 5.1, DMA_MEMORY_EXCLUSIVE before). If false,
   * ordinary memory is allocated for them. Default true.
   */
  readonly exclusive?: boolean | undefined;
}

/** The state of a device's declared memory. */
export interface DeclaredInfo {
  /** The address at which the device sees the first byte. */
  readonly deviceAddress: bigint;
  /** Bytes. */
  readonly size: number;
  /** Bytes of free pages. */
  readonly free: number;
  readonly kind: 'memory' | 'io';
  readonly exclusive: boolean;
  /** The buffers that were allocated or marked occupied and are not freed, oldest first. */
  readonly live: readonly { readonly dmaAddress: bigint; readonly size: number }[];
}

/** Pages in use. */
interface Run {
  readonly page: number;
  readonly pages: number;
}

/** Offsets in BARs and buffers are multiples of this, so that every word in the memory is aligned. */
const ALIGNMENT = 8;

/** The declared memory of one device, and the pages of it that are in use. */
export class DeclaredMemory implements DeclaredInfo {
  readonly deviceAddress: bigint;
  readonly size: number;
  readonly exclusive: boolean;

  readonly #own: OwnMemory;
  readonly #address: number;
  readonly #pageSize: number;
  readonly #pages: DeclaredPages;
  readonly #memory: Uint8Array | IoMemory;
  readonly #out = new Map<OwnRegion | IoPlace, Run>();

  /**
   * See `DmaDevice.declareCoherentMemory`.
   * @param pageSize allocations are rounded up to this
   * @throws DmaError EINVAL
   */
  constructor(
    own: OwnMemory,
    pageSize: number,
    memory: DeclarableMemory,
    deviceAddress: bigint,
    size: number,
    options: DeclareOptions = {},
  ) {
    checkOptions<DeclareOptions>(options, 'declareCoherentMemory', { exclusive: checkBoolean });
    const { exclusive = true } = options;
    checkSize(size, 'the size of declared memory');
    this.#address = checkAddress(deviceAddress, size, pageSize);
    this.#memory = isIo(memory) ? checkIo(memory, size) : checkBytes(memory, size, own);
    this.#own = own;
    this.#pageSize = pageSize;
    this.#pages = new DeclaredPages(size / pageSize);
    this.deviceAddress = deviceAddress;
    this.size = size;
    this.exclusive = exclusive;
  }

  get kind(): 'memory' | 'io' {
    return this.#memory instanceof Uint8Array ? 'memory' : 'io';
  }

  get free(): number {
    return this.#pages.free * this.#pageSize;
  }

  get live(): readonly { readonly dmaAddress: bigint; readonly size: number }[] {
    return [...this.#out.keys()].map(({ address, size }) => ({ dmaAddress: BigInt(address), size }));
  }

  /**
   * Allocate zeroed memory. The result is undefined if the caller has to allocate ordinary memory instead.
   * @throws DmaError ENOMEM full and exclusive · EOPNOTSUPP part of a BAR and exclusive · EFAULT it was detached
   */
  allocate(size: number): OwnRegion | undefined {
    const memory = this.#memory;
    if (!(memory instanceof Uint8Array)) {
      if (this.exclusive) throw accessorsOnly('allocCoherentIo');
      return undefined;
    }
    const run = this.#take(size);
    if (run === undefined) {
      if (this.exclusive) throw this.#full(size);
      return undefined;
    }
    return this.#region(memory, run, size, true);
  }

  /**
   * Allocate zeroed memory of the BAR.
   * @throws DmaError ENOMEM full · EOPNOTSUPP it is not part of a BAR · EIO, ENODEV
   */
  allocateIo(size: number): IoPlace {
    const memory = this.#memory;
    if (memory instanceof Uint8Array) throw noAccessors('allocCoherent');
    const run = this.#take(size);
    if (run === undefined) throw this.#full(size);
    const place = this.#place(memory, run, size);
    try {
      zeroIo(memory.bar, place.offset, Math.ceil(size / 4) * 4);
    } catch (error) {
      this.give(place);
      throw error;
    }
    return place;
  }

  /**
   * Allocate the pages from that of `deviceAddress` on, without clearing them.
   * @throws DmaError EINVAL outside · EBUSY · EOPNOTSUPP · EFAULT
   */
  occupy(deviceAddress: bigint, size: number): OwnRegion {
    const memory = this.#memory;
    if (!(memory instanceof Uint8Array)) throw accessorsOnly('markDeclaredIoOccupied');
    const { run, grown } = this.#mark(deviceAddress, size);
    return this.#region(memory, run, grown, false);
  }

  /** As `occupy`, in a BAR. */
  occupyIo(deviceAddress: bigint, size: number): IoPlace {
    const memory = this.#memory;
    if (memory instanceof Uint8Array) throw noAccessors('markDeclaredMemoryOccupied');
    const { run, grown } = this.#mark(deviceAddress, size);
    return this.#place(memory, run, grown);
  }

  /** Free pages that were allocated or marked occupied. Stamped views of them have no address from here on. */
  give(piece: OwnRegion | IoPlace): void {
    const run = this.#out.get(piece);
    if (run === undefined) return;
    this.#out.delete(piece);
    this.#pages.give(run.page, run.pages);
    if (piece instanceof OwnRegion) piece.owner = undefined;
    else piece.taken = false;
  }

  /** Free all pages. */
  giveAll(): void {
    for (const piece of [...this.#out.keys()]) this.give(piece);
  }

  #take(size: number): Run | undefined {
    const pages = runOf(size, this.#pageSize);
    const page = this.#pages.take(pages);
    return page < 0 ? undefined : { page, pages };
  }

  /** The bytes between the start of the page and the address are added to `size`, as in the kernel. */
  #mark(deviceAddress: bigint, size: number): { readonly run: Run; readonly grown: number } {
    checkSize(size, 'the size of what is occupied');
    const offset = Number(deviceAddress) - this.#address;
    if (typeof deviceAddress !== 'bigint' || offset < 0 || size > this.size - offset) {
      const where = `${size} bytes at device address ${hex(deviceAddress)}`;
      throw new DmaError('EINVAL', `${where} are not in the ${this.size} bytes declared`, {
        remedy: `stay inside ${hex(this.deviceAddress)} and what follows`,
      });
    }
    const grown = size + (offset % this.#pageSize);
    const run = { page: Math.floor(offset / this.#pageSize), pages: runOf(grown, this.#pageSize) };
    if (this.#pages.occupy(run.page, run.pages)) return { run, grown };
    throw new DmaError('EBUSY', `${run.pages} pages from ${hex(deviceAddress)} on are not all free`, {
      remedy:
        'mark what is occupied before anything is allocated; sizes are rounded up to a power of two of pages',
    });
  }

  #region(memory: Uint8Array, run: Run, size: number, zeroed: boolean): OwnRegion {
    const offset = run.page * this.#pageSize;
    if (memory.length === 0) {
      this.#pages.give(run.page, run.pages);
      throw new DmaError('EFAULT', 'the declared memory was freed or detached', {
        remedy: 'release declared memory before its buffer goes away',
      });
    }
    if (zeroed) memory.fill(0, offset, offset + size);
    const region = new OwnRegion(this.#own, {
      buffer: memory.buffer as ArrayBuffer,
      byteOffset: memory.byteOffset + offset,
      address: this.#address + offset,
      size,
      span: run.pages * this.#pageSize,
      coherent: true,
      declared: true,
    });
    this.#out.set(region, run);
    return region;
  }

  #place({ bar, offset }: IoMemory, run: Run, size: number): IoPlace {
    const at = run.page * this.#pageSize;
    const place = { bar, offset: offset + at, address: this.#address + at, size, taken: true };
    this.#out.set(place, run);
    return place;
  }

  #full(size: number): DmaError {
    const pages = runOf(size, this.#pageSize);
    return new DmaError('ENOMEM', `no ${pages} pages in a row are free in the ${this.size} bytes declared`, {
      remedy:
        'free something, declare more, or declare it with exclusive: false where ordinary memory will do',
    });
  }
}

/** The error of a call that needs declared memory when none is declared. */
export function nothingDeclared(name: string): DmaError {
  return new DmaError('EINVAL', `no memory is declared for ${name}`, {
    remedy: 'call declareCoherentMemory first',
  });
}

function isIo(memory: DeclarableMemory): memory is IoMemory {
  return (memory as Partial<IoMemory> | undefined)?.bar?.info !== undefined;
}

/**
 * Check the address. Here the size must be whole pages: the kernel drops an incomplete page at the end, and accepts
 * any address.
 */
function checkAddress(deviceAddress: bigint, size: number, pageSize: number): number {
  const address = typeof deviceAddress === 'bigint' ? Number(deviceAddress) : Number.NaN;
  const whole = (value: number) => Number.isSafeInteger(value) && value >= 0 && value % pageSize === 0;
  if (whole(address) && whole(size) && Number.isSafeInteger(address + size)) return address;
  throw new DmaError('EINVAL', `${size} bytes declared at device address ${hex(deviceAddress)}`, {
    remedy: `declare whole pages of ${pageSize} bytes, at a multiple of that, as a bigint`,
  });
}

function checkIo({ bar, offset }: IoMemory, size: number): IoMemory {
  const { info } = bar;
  const fits = Number.isSafeInteger(offset) && offset >= 0 && size <= info.size - offset;
  if (info.kind === 'memory' && fits && offset % ALIGNMENT === 0) return { bar, offset };
  const what = `${size} bytes at offset ${describe(offset)} of a BAR of ${info.size}`;
  throw new DmaError('EINVAL', `${what} cannot be declared`, {
    remedy: `take part of a memory BAR, from a multiple of ${ALIGNMENT} on`,
  });
}

function checkBytes(memory: ArrayBuffer | ArrayBufferView, size: number, own: OwnMemory): Uint8Array {
  const bytes =
    memory instanceof ArrayBuffer ? allOf(memory) : mappableBytes(memory, DEVICE_READS | DEVICE_WRITES);
  if (bytes.length < size || bytes.byteOffset % ALIGNMENT !== 0) {
    throw new DmaError('EINVAL', `${size} bytes declared, in ${bytes.length} at offset ${bytes.byteOffset}`, {
      remedy: `pass as much memory, from a multiple of ${ALIGNMENT} in its buffer on`,
    });
  }
  if (own.regionOf(bytes.buffer)?.coherent !== false) return bytes;
  throw new DmaError('EINVAL', 'noncoherent memory cannot be declared coherent', {
    remedy: 'use allocCoherent for it',
  });
}

function allOf(buffer: ArrayBuffer): Uint8Array {
  // A view of a detached buffer cannot be made.
  if (buffer.byteLength === 0) throw emptyView();
  return bytesOf(
    new Uint8Array(buffer, 0, Math.min(buffer.byteLength, constants.MAX_LENGTH)),
    buffer,
    DEVICE_READS | DEVICE_WRITES,
  );
}

function accessorsOnly(method: string): DmaError {
  return new DmaError('EOPNOTSUPP', 'the declared memory is part of a BAR: no view of it can be had', {
    remedy: `use ${method}`,
  });
}

function noAccessors(method: string): DmaError {
  return new DmaError('EOPNOTSUPP', 'the declared memory is not part of a BAR', { remedy: `use ${method}` });
}

function hex(address: bigint): string {
  return typeof address === 'bigint' && address >= 0n ? `0x${address.toString(16)}` : describe(address);
}
