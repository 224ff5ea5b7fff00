/** Coherent memory: both the CPU and the device see each other's writes without any call in between. */
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
  /** Meant to be released with the device (dmam_alloc_coherent): no leak then. Default false. */
  readonly managed?: boolean | undefined;
  /**
   * Members of DMA_ATTR, combined with | (dma_alloc_attrs): hints that change nothing here, WRITE_COMBINE among them,
   * are taken; what cannot be kept is refused by name. Default 0.
   */
  readonly attributes?: number | undefined;
}

/** @param contiguous whether memory is physically contiguous anyway @throws DmaError EINVAL, EOPNOTSUPP */
export function checkCoherentOptions(options: CoherentOptions, contiguous: boolean): void {
  checkOptions<CoherentOptions>(options, 'allocCoherent', {
    managed: checkBoolean,
    attributes: checkedLater,
  });
  if (options.attributes !== undefined) checkAllocationAttributes(options.attributes, contiguous);
}

/** Replaces `bytes` when memory is freed whose buffer lives on. */
const NOTHING = new Uint8Array(0);

/**
 * Memory from `DmaDevice.allocCoherent` (dma_alloc_coherent). Plain typed arrays are right for descriptors and
 * payload; a word that the *device* writes while the CPU polls it is read with `load32`/`load64`, because V8 merges
 * and drops plain reads.
 *
 * An allocation from declared memory is a part of the declared buffer, like the block of a pool: `buffer` holds its
 * neighbours too, so that other views start at `bytes.byteOffset`, only `bytes` has an address for `addressOf` and
 * mappings, and a view that is kept beyond `free` shows what the memory is used for next.
 */
export class CoherentBuffer {
  /** Bytes asked for. */
  readonly size: number;
  /**
   * Exactly `size` bytes, an ArrayBuffer of its own: `new Uint32Array(ring.buffer)` is right. Unless the memory was
   * declared, see above.
   */
  readonly buffer: ArrayBuffer;
  /** All of it. Length 0 once freed. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Meant to be released with the device (dmam_alloc_coherent): no leak then. */
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

  /** Address of the first byte for the device. @throws DmaError EINVAL once freed */
  get dmaAddress(): bigint {
    this.#dmaAddress ??= BigInt(this.#region.address);
    if (this.#freed) throw this.#usedAfterFree();
    return this.#dmaAddress;
  }

  /** Bits 0 to 31 of the address, for descriptors with split fields. @throws DmaError EINVAL once freed */
  get low(): number {
    if (this.#freed) throw this.#usedAfterFree();
    return this.#region.address >>> 0;
  }

  /** Bits 32 to 63 of the address. @throws DmaError EINVAL once freed */
  get high(): number {
    if (this.#freed) throw this.#usedAfterFree();
    return Math.floor(this.#region.address / 2 ** 32);
  }

  /** Whether `free` was called. */
  get freed(): boolean {
    return this.#freed;
  }

  /** A 32-bit word the device may be writing, read once and whole. @throws DmaError EINVAL misaligned or outside */
  load32(offset: number): number {
    this.#checkWord(offset, 4);
    lookAt(this.buffer)?.();
    return Atomics.load(new Uint32Array(this.buffer, this.#region.byteOffset + offset, 1), 0);
  }

  /** A 64-bit word the device may be writing, read once and whole. @throws DmaError EINVAL misaligned or outside */
  load64(offset: number): bigint {
    this.#checkWord(offset, 8);
    lookAt(this.buffer)?.();
    return Atomics.load(new BigUint64Array(this.buffer, this.#region.byteOffset + offset, 1), 0);
  }

  /**
   * Unmap, kill every view, recycle (dma_free_coherent).
   * @throws DmaError EINVAL when freed before
   */
  free(): void {
    if (this.#freed) throw this.#usedAfterFree('released-twice');
    this.revoke();
    this.#owner.releaseBuffer(this, this.#region);
  }

  /** Frees what is still held; harmless after `free`. */
  [Symbol.dispose](): void {
    if (!this.#freed) this.free();
  }

  /** Whether its memory was taken from the device. @internal */
  get orphaned(): boolean {
    return this.#region.owner === undefined;
  }

  /**
   * The device is closing, or taking back what was declared: its operations release the memory themselves.
   * @internal
   */
  revoke(): void {
    this.#freed = true;
    if (this.#region.declared) (this as { bytes: Uint8Array<ArrayBuffer> }).bytes = NOTHING;
  }

  #checkWord(offset: number, width: number): void {
    if (this.#freed) throw this.#usedAfterFree();
    // The length of `bytes`, which is 0 once the program has transferred the buffer.
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
