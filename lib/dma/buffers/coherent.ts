/** Coherent memory: the CPU and the device see each other's writes without any call in between. */
import { checkBoolean, checkedLater, checkOptions, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { lookAt } from '../../looks.ts';
import type { OwnRegion } from '../operations/own-memory.ts';
import { checkAllocationAttributes } from '../words/attributes.ts';
import type { Misuse, Refuser } from '../words/misuse.ts';

/** The device of a coherent buffer, as far as the buffer needs it. */
export interface CoherentOwner extends Refuser<CoherentBuffer> {
  releaseBuffer(buffer: CoherentBuffer, region: OwnRegion): void;
}

/** Options of `allocCoherent` (dma_alloc_attrs). */
export interface CoherentOptions {
  /**
   * If true, the buffer is meant to be released with the device (dmam_alloc_coherent), and is then no leak. Default
   * false.
   */
  readonly managed?: boolean | undefined;
  /**
   * Members of DMA_ATTR, combined with | (dma_alloc_attrs). Hints are accepted and change nothing here, WRITE_COMBINE
   * among them. An attribute that the library cannot honour is refused by name. Default 0.
   */
  readonly attributes?: number | undefined;
}

/** @param contiguous true if memory is always physically contiguous @throws DmaError EINVAL, EOPNOTSUPP */
export function checkCoherentOptions(options: CoherentOptions, contiguous: boolean): void {
  checkOptions<CoherentOptions>(options, 'allocCoherent', {
    managed: checkBoolean,
    attributes: checkedLater,
  });
  if (options.attributes !== undefined) checkAllocationAttributes(options.attributes, contiguous);
}

/** This replaces `bytes` when freed memory has a buffer that lives on. */
const NOTHING = new Uint8Array(0);

/**
 * Memory from `DmaDevice.allocCoherent` (dma_alloc_coherent). Use plain typed arrays for descriptors and payload. Use
 * `load32` and `load64` for a word that the *device* writes while the CPU polls it, because V8 merges and drops plain
 * reads.
 *
 * An allocation from declared memory is a part of the declared buffer, like the block of a pool. `buffer` then holds
 * the neighbours too, so other views must start at `bytes.byteOffset`. Only `bytes` has an address for `addressOf`
 * and mappings. A view that is kept beyond `free` shows the next use of the memory.
 */
export class CoherentBuffer {
  /** The bytes that the driver asked for. */
  readonly size: number;
  /**
   * An ArrayBuffer of exactly `size` bytes: `new Uint32Array(ring.buffer)` is right. For declared memory this is not
   * so, see above.
   */
  readonly buffer: ArrayBuffer;
  /** The whole memory. Its length is 0 once freed. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** True if the buffer is meant to be released with the device (dmam_alloc_coherent), and is then no leak. */
  readonly managed: boolean;

  readonly #owner: CoherentOwner;
  readonly #region: OwnRegion;
  #dmaAddress: bigint | undefined;
  #freed = false;

  /** @internal */
  constructor(owner: CoherentOwner, region: OwnRegion, managed = false) {
    this.size = region.size;
    this.managed = managed;
    this.buffer = region.buffer;
    this.bytes = region.view(0, region.size);
    this.#owner = owner;
    this.#region = region;
  }

  /** The address of the first byte for the device. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    this.#dmaAddress ??= BigInt(this.#region.address);
    if (this.#freed) throw this.#usedAfterFree();
    return this.#dmaAddress;
  }

  /** The address bits 0 to 31, for descriptors with split fields. @throws DmaError EINVAL once freed */
  get low(): number {
    if (this.#freed) throw this.#usedAfterFree();
    return this.#region.address >>> 0;
  }

  /** The address bits 32 to 63. @throws DmaError EINVAL once freed */
  get high(): number {
    if (this.#freed) throw this.#usedAfterFree();
    return Math.floor(this.#region.address / 2 ** 32);
  }

  /** True once the buffer was freed. */
  get freed(): boolean {
    return this.#freed;
  }

  /** Read a 32-bit word once and whole while the device may write it. @throws DmaError EINVAL misaligned or outside */
  load32(offset: number): number {
    this.#checkWord(offset, 4);
    lookAt(this.buffer)?.();
    return Atomics.load(new Uint32Array(this.buffer, this.#region.byteOffset + offset, 1), 0);
  }

  /** Read a 64-bit word once and whole while the device may write it. @throws DmaError EINVAL misaligned or outside */
  load64(offset: number): bigint {
    this.#checkWord(offset, 8);
    lookAt(this.buffer)?.();
    return Atomics.load(new BigUint64Array(this.buffer, this.#region.byteOffset + offset, 1), 0);
  }

  /**
   * Unmap the memory, end every view, and recycle the memory (dma_free_coherent).
   * @throws DmaError EINVAL when freed before
   */
  free(): void {
    if (this.#freed) throw this.#usedAfterFree('released-twice');
    this.revoke();
    this.#owner.releaseBuffer(this, this.#region);
  }

  /** Free the buffer if it is not freed yet. This is harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /** True if the memory was taken from the device. @internal */
  get orphaned(): boolean {
    return this.#region.owner === undefined;
  }

  /**
   * The device is closing, or it releases its declared memory. The memory is then released elsewhere.
   * @internal
   */
  revoke(): void {
    this.#freed = true;
    if (this.#region.declared) (this as { bytes: Uint8Array<ArrayBuffer> }).bytes = NOTHING;
  }

  #checkWord(offset: number, width: number): void {
    if (this.#freed) throw this.#usedAfterFree();
    // `bytes` has length 0 once the program has transferred the buffer.
    const { length } = this.bytes;
    if (Number.isInteger(offset) && offset >= 0 && offset % width === 0 && offset + width <= length) return;
    throw new DmaError(
      'EINVAL',
      `no ${width * 8}-bit word at offset ${describe(offset)} of ${length} bytes`,
      {
        remedy: `use a multiple of ${width} inside the buffer`,
      },
    );
  }

  #usedAfterFree(misuse: Misuse = 'used-after-release'): DmaError {
    const error = new DmaError(
      'EINVAL',
      `a coherent buffer of ${this.size} bytes was used after it was freed`,
      {
        remedy: 'keep it until the device is done with it, and free it once',
      },
    );
    return this.#owner.refuse(misuse, this, error);
  }
}
