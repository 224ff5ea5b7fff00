/**
 * The native border, typed: every function of the addon, as `native/*.cc` exports it.
 *
 * There is one convention. A result of 0 or more is the answer, and a negative one is -errno (-EBADF: unknown or
 * closed handle, -EINVAL: any other bad argument). No function throws, even for wrong arguments. Handles are
 * integers, are never reused, and belong to the environment (main thread or worker) that made them.
 */
import type { DmaBufFunctions } from './dma-buf.ts';
import type { IommufdFunctions } from './iommufd.ts';
import type { UDmaBufFunctions } from './u-dma-buf.ts';
import type { UioFunctions } from './uio.ts';
import type { VfioFunctions } from './vfio.ts';

export type Handle = number;

/** Regions: sealed MAP_SHARED memfds carved into ArrayBuffers (native/region.h). */
export interface RegionFunctions {
  /** Bytes of the smallest CPU page. */
  pageSize(): number;
  /**
   * A zeroed, populated region of `bytes`, rounded up to whole pages: ordinary pages, huge pages of the system's
   * default size (true), or pages of so many bytes. -ENOMEM: there is not that much memory, or too few huge pages are
   * reserved. -ENODEV: the system has no huge pages of this size. The pages come from the NUMA node `node` while it has
   * some, and if the system allows that choice.
   */
  regionCreate(bytes: number, hugePages: boolean | number, node?: number): Handle;
  /** Bytes of the region, after rounding. */
  regionSize(region: Handle): number;
  /** The memfd, for making a udmabuf of it. The region keeps owning it. */
  regionFd(region: Handle): number;
  /** The address of its first byte in this process, for /proc/self/pagemap. */
  regionAddress(region: Handle): number;
  /**
   * An external ArrayBuffer of exactly [offset, offset + length), with its whole pages zeroed. `offset` is a multiple
   * of the page size. The caller must keep carvings apart.
   */
  regionCarve(region: Handle, offset: number, length: number): ArrayBuffer | number;
  /** Zeroes the whole pages of [offset, offset + length), with the arguments of `regionCarve`. Returns 0. */
  regionZero(region: Handle, offset: number, length: number): number;
  /**
   * Puts new zeroed pages in the place of [offset, offset + length), which is whole pages of the region's own size. A
   * dma-buf that holds the old pages keeps them. -ENOMEM: the old pages are gone, and there are no new ones. -EBUSY:
   * the old pages are cleared and still there, because they are parts of a transparent huge page that another holder
   * has. -EOPNOTSUPP: the memory is not from regionCreate.
   */
  regionReplace(region: Handle, offset: number, length: number): number;
  /** Puts anonymous memory in the region's place, under every view of it, and ends the handle. Returns 0. */
  regionRevoke(region: Handle): number;
  /**
   * 1: detached now, 0: it was detached before. -EOPNOTSUPP from Node 22 on, where detaching from native code can
   * abort the process, and `ArrayBuffer.prototype.transfer` does it safely.
   */
  detach(buffer: ArrayBuffer): number;
  /**
   * Detaches the buffer and returns a new one with the same memory. A transfer list takes the new one, unless it is
   * marked. 0: the buffer was detached before. -EOPNOTSUPP: from Node 22 on, as `detach`, and where V8 is not known.
   */
  renew(buffer: ArrayBuffer): ArrayBuffer | number;
  /**
   * Takes the detach key from the buffer, so that `transfer` can detach it. What else `markAsUntransferable` noted
   * stays: a transfer list refuses the buffer. Returns 0. -EOPNOTSUPP where V8 is not known.
   */
  unlock(buffer: ArrayBuffer): number;
}

/** Memory to memory (native/copy.cc). */
export interface CopyFunctions {
  /**
   * Does the first `count` copies of a list, in order. Each copy has five numbers: the target's buffer and offset,
   * the source's buffer and offset, and the bytes. A buffer is its index among the (up to six) arguments. Returns 0
   * after all copies. Returns -EINVAL, and copies nothing, if a buffer is missing, detached, shared or too short, or
   * a copy has no bytes.
   */
  copyBatch(copies: Uint32Array, count: number, ...buffers: (ArrayBufferLike | undefined)[]): number;
}

/**
 * Registers. An access finds its window, offset and value in the environment's frame, and leaves a value that it read
 * there, because arguments and results cost more than the access (native/mmio.h). Each call is one access of its
 * width, ordered after earlier memory writes (and, for a read, before later reads). Its result is undefined, or a
 * number below 0. -EINVAL: outside the window, or misaligned. -EIO: the device did not answer (SIGBUS, or the kernel
 * refused). A write takes the lower bits of the value.
 */
export interface MmioFunctions {
  /** 24 bytes: a handle and an offset, both Float64, and a value of 64 bits (a read of fewer clears the rest). */
  mmioFrame(): ArrayBuffer | number;
  mmioSize(window: Handle): number;
  /** From here on an access to these bytes of the window gives -EPERM. Reads are allowed if `readable` is true. */
  mmioReserve(window: Handle, offset: number, size: number, readable: boolean): number;
  mmioRead8(): number | undefined;
  mmioRead16(): number | undefined;
  mmioRead32(): number | undefined;
  mmioRead64(): number | undefined;
  mmioWrite8(): number | undefined;
  mmioWrite16(): number | undefined;
  mmioWrite32(): number | undefined;
  mmioWrite64(): number | undefined;
  /**
   * Prepares accesses, each of which is two numbers of Float64: the bytes of its width (1, 2, 4, 8), and 16 more if it
   * writes; its offset. The result has the sequence's handle (Float64), and then 64 bits for the value of each access.
   * The sequence ends with this ArrayBuffer.
   */
  mmioSequence(window: Handle, accesses: ArrayBuffer): ArrayBuffer | number;
  /**
   * Makes the accesses of the sequence whose handle is in the frame, in order, up to the first that fails. After a
   * failure the frame's value is the number of accesses that were made. -EBADF: the sequence or its window is closed.
   */
  mmioRun(): number | undefined;
  /** Processors and devices see the accesses of memory before it earlier than those after it (dma_mb). Returns 0. */
  dmaBarrier(): number;
}

/** Interrupts: an eventfd watched by the event loop of the calling environment (native/interrupt.h). */
export interface InterruptFunctions {
  /** `deliver` runs from the event loop with the number of signals since it last ran; it keeps the loop alive. */
  interruptCreate(deliver: (count: number) => void): Handle;
  /** The eventfd. The interrupt keeps owning it. */
  interruptFd(interrupt: Handle): number;
  /** `deliver` is not called again. */
  interruptClose(interrupt: Handle): number;
  /** Sets if it keeps the event loop alive. */
  interruptRef(interrupt: Handle, ref: boolean): number;
}

/** Functions that stand in for a device in tests. */
export interface TestingFunctions {
  /** Signals an interrupt `count` times, as a device would. */
  signal(interrupt: Handle, count: number): number;
  /**
   * A window over region bytes [offset, offset + size). Its bytes [hole, hole + holeSize) are not mapped, and are
   * reached through the memfd, like a BAR that the kernel allows to be mapped only in part.
   */
  windowFromRegion(region: Handle, offset: number, size: number, hole: number, holeSize: number): Handle;
  /** A window of `size` bytes that answers every access with SIGBUS. */
  windowPastEnd(size: number): Handle;
  windowClose(window: Handle): number;
}

export interface Addon
  extends RegionFunctions,
    CopyFunctions,
    MmioFunctions,
    InterruptFunctions,
    UioFunctions,
    DmaBufFunctions,
    UDmaBufFunctions,
    IommufdFunctions,
    VfioFunctions {
  /** For tests only: undefined in a released addon, and unless the environment had USERDMA_TESTING when the addon was loaded. */
  readonly testing: TestingFunctions;
}
