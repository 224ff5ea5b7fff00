/**
 * Checks that the CPU and a simulated device keep to their turns. lent-bytes.ts knows the owner of each byte and the
 * bytes that changed. This file decides which of these changes are mistakes, and reports each of them once.
 */

import { DEVICE_WRITES } from '../direction.ts';
import type { ReportKind } from '../dma/debug-view.ts';
import { DMA_ATTR } from '../dma/words/attributes.ts';
import type { DmaDebug } from './debug.ts';
import type { Changed, LentBytes } from './lent-bytes.ts';
import { isNew, mistakeKey } from './once.ts';
import { captureMistake } from './sites.ts';
import { bytes, thing } from './wording.ts';

/** A mistake is reported once for each cache line of a mapping. */
const PLACE = 64;

/** The finder of a mistake: a call of the driver, which has a stack, or an access of the device. */
type Noticed = 'driver' | 'device';

/** The checks of one device. Each of them reports the mistake that it finds. */
export class Turns {
  readonly #debug: DmaDebug;

  constructor(debug: DmaDebug) {
    this.#debug = debug;
  }

  /** Checks that the CPU changed no byte of [from, to) that the device owns. */
  untouched(piece: LentBytes, from: number, to: number, when: string, noticed: Noticed = 'driver'): void {
    if (piece.cpu.empty && piece.changed(from, to) === undefined) return;
    piece.cpu.eachGap(from, to, (start, end) => {
      const changed = piece.changed(start, end);
      if (changed === undefined) return;
      const message = `the CPU wrote ${what(changed)} of ${thing(piece)}, which the device owns (found ${when})`;
      const remedy = 'write before mapping, or between syncForCpu and syncForDevice';
      this.#tell('cpu-wrote-while-device-owned', piece, changed, `${message}; ${remedy}`, noticed);
    });
  }

  /** Checks all bytes of a mapping that is about to be unmapped. */
  unmapping(piece: LentBytes, attributes: number): void {
    this.untouched(piece, 0, piece.size, 'when it was unmapped');
    this.#kept(piece, attributes);
    this.missed(piece);
  }

  /** Checks that the driver synced a mapping between two writes of the device. */
  missed(piece: LentBytes): void {
    if (!piece.missedChange || piece.entry.way === undefined) return;
    const changed = { start: 0, end: piece.size, count: piece.size };
    const message = `the device wrote to ${thing(piece)} more than once, and the driver never synced it for the CPU in between: it read stale bytes, or missed some`;
    const remedy =
      'syncForCpu before reading what the device wrote, and syncForDevice before it writes again';
    this.#tell('not-synced-for-cpu', piece, changed, `${message}; ${remedy}`, 'driver');
  }

  /** Checks that unmap will not overwrite bytes that the CPU wrote after syncForCpu. */
  #kept(piece: LentBytes, attributes: number): void {
    if (piece.cpu.empty) return;
    if ((piece.bits & DEVICE_WRITES) === 0 || (attributes & DMA_ATTR.SKIP_CPU_SYNC) !== 0) return;
    piece.cpu.eachIn(0, piece.size, (start, end) => {
      const changed = piece.changed(start, end);
      if (changed === undefined) return;
      const message = `the CPU wrote ${what(changed)} of ${thing(piece)} after syncForCpu, and unmap undoes that where memory is copied or cached`;
      const remedy = 'write after unmap, or syncForDevice first';
      this.#tell('not-synced-for-device', piece, changed, `${message}; ${remedy}`, 'driver');
    });
  }

  /** Checks that the driver synced the bytes of [from, to) that the device wrote. */
  taken(piece: LentBytes, from: number, to: number, fate: string): void {
    if (piece.unsynced.empty) return;
    const lost = piece.unsynced.firstIn(from, to);
    if (lost === undefined) return;
    const changed = { ...lost, count: lost.end - lost.start };
    const message = `${what(changed)} of ${thing(piece)} that the device wrote: ${fate}, and the driver had not synced them for the CPU`;
    const remedy = 'syncForCpu before reading what the device wrote';
    this.#tell('not-synced-for-cpu', piece, changed, `${message}; ${remedy}`, 'driver');
  }

  #tell(kind: ReportKind, piece: LentBytes, changed: Changed, message: string, noticed: Noticed): void {
    if (!isNew(piece.told, mistakeKey(kind, changed.start, PLACE))) return;
    this.#debug.report({
      kind,
      message: `${this.#debug.name}: ${message}`,
      entry: piece.entry,
      address: piece.address + changed.start,
      size: changed.end - changed.start,
      mistakeAt: noticed === 'driver' ? captureMistake() : undefined,
    });
  }
}

/** `3 bytes from offset 16 on` */
function what({ start, count }: Changed): string {
  return `${bytes(count)} from offset ${start} on`;
}
