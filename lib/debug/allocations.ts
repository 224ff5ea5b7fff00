/** Allocations that are recorded in the ledger, and whose syncs are watched. */

import { directionBits } from '../direction.ts';
import { type AllocatingDevice, Allocations, type Held } from '../dma/buffers/allocations.ts';
import { CoherentBuffer } from '../dma/buffers/coherent.ts';
import { NoncoherentBuffer } from '../dma/buffers/noncoherent.ts';
import { NoncontiguousBuffer } from '../dma/buffers/noncontiguous.ts';
import type { EntryType } from '../dma/debug-view.ts';
import { IovaState } from '../dma/iova/state.ts';
import type { OwnRegion } from '../dma/operations/own-memory.ts';
import { DmaPool } from '../dma/pool/pool.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import type { DmaError } from '../errors.ts';
import { markCoherent } from './coherent-buffers.ts';
import type { DmaDebug } from './debug.ts';
import type { Place } from './entry.ts';
import type { WatchedPool } from './pools.ts';

/** The allocations of a device. Each is recorded in the ledger of dma-debug. */
export class DebugAllocations extends Allocations {
  readonly #debug: DmaDebug;

  constructor(debug: DmaDebug, device: AllocatingDevice) {
    super(device);
    this.#debug = debug;
  }

  override refuse(misuse: Misuse, held: Held, error: DmaError): DmaError {
    return this.#debug.refused(misuse, this.#debug.ledger.heldBy(held), error);
  }

  protected override forget(held: Held): void {
    const entry = this.#debug.ledger.drop(held);
    if (entry !== undefined) this.#debug.watch?.releasing(entry);
    if (held instanceof DmaPool) this.#debug.pools.delete(held as WatchedPool);
    super.forget(held);
  }

  override syncBufferForCpu(buffer: NoncoherentBuffer, offset: number, size: number): void {
    const { watch } = this.#debug;
    watch?.syncingForCpu(buffer, offset, size);
    super.syncBufferForCpu(buffer, offset, size);
    watch?.syncedForCpu(buffer, offset, size);
  }

  override syncBufferForDevice(buffer: NoncoherentBuffer, offset: number, size: number): void {
    const { watch } = this.#debug;
    watch?.syncingForDevice(buffer, offset, size);
    super.syncBufferForDevice(buffer, offset, size);
    watch?.syncedForDevice(buffer, offset, size);
  }

  override releaseDeclaredMemory(): void {
    const live = this.declared?.live ?? [];
    if (live.length > 0) {
      const entry = this.#debug.ledger.find(Number(live[0]!.dmaAddress));
      const message = `declared memory released with ${live.length} allocations from it that are not freed`;
      this.#debug.mistake('declared-memory-busy', `${message}; free them first`, entry);
    }
    super.releaseDeclaredMemory();
  }

  override syncPieceForCpu(
    buffer: NoncontiguousBuffer,
    piece: OwnRegion,
    offset: number,
    size: number,
  ): void {
    const { watch } = this.#debug;
    const at = piece.address - Number(buffer.dmaAddress) + offset;
    watch?.syncingForCpu(buffer, at, size);
    super.syncPieceForCpu(buffer, piece, offset, size);
    watch?.syncedForCpu(buffer, at, size);
  }

  override syncPieceForDevice(
    buffer: NoncontiguousBuffer,
    piece: OwnRegion,
    offset: number,
    size: number,
  ): void {
    const { watch } = this.#debug;
    const at = piece.address - Number(buffer.dmaAddress) + offset;
    watch?.syncingForDevice(buffer, at, size);
    super.syncPieceForDevice(buffer, piece, offset, size);
    watch?.syncedForDevice(buffer, at, size);
  }

  protected override hold(held: Held): void {
    super.hold(held);
    if (held instanceof CoherentBuffer) markCoherent(held.buffer);
    const entry = this.#debug.ledger.hold(held, placeOf(held));
    if (entry !== undefined) this.#debug.watch?.held(entry);
  }
}

function placeOf(held: Held): Place {
  // The pool's memory is recorded as the memory of its blocks.
  if (held instanceof DmaPool) return { type: 'pool', address: 0, size: 0 };
  const place = { type: typeOf(held), address: Number(held.dmaAddress), size: held.size };
  return 'direction' in held ? { ...place, bits: directionBits(held.direction) } : place;
}

function typeOf(held: Exclude<Held, DmaPool>): EntryType {
  if (held instanceof IovaState) return 'iova';
  if (held instanceof NoncoherentBuffer) return 'noncoherent';
  return held instanceof NoncontiguousBuffer ? 'noncontiguous' : 'coherent';
}
