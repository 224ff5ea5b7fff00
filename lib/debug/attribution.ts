/**
 * Finds the mapping that an IOMMU fault of real hardware concerns. The kernel's log tells where the device failed and
 * how, with the precision of a page at best. The ledger finds the mapping that is there now, was there last, or is
 * closest.
 */
import type { Fault } from '../iommu/fault.ts';
import { distanceTo } from './address-index.ts';
import type { DmaDebug } from './debug.ts';
import { type Entry, neededFor } from './entry.ts';
import { holds } from './ledger.ts';
import { Once } from './once.ts';
import { bytes, did, hex, lost, thing } from './wording.ts';

/** A source of faults. */
export interface FaultSource {
  /** The faults since the last call, oldest first. */
  faults(): readonly Fault[];
  close(): void;
}

/** Faults that concern no mapping are reported once for each range of so many bytes. */
const PLACE = 4096;

/** Turns the IOMMU faults of a real device into reports that name the mapping concerned. */
export class Attribution {
  readonly #debug: DmaDebug;
  readonly #source: FaultSource;
  readonly #once = new Once();

  constructor(debug: DmaDebug, source: FaultSource) {
    this.#debug = debug;
    this.#source = source;
  }

  /** Reports new faults, but only one for each mapping concerned. */
  read(): void {
    for (const fault of this.#source.faults()) this.#report(fault);
  }

  close(): void {
    this.#source.close();
  }

  #report(fault: Fault): void {
    const start = Number(fault.address);
    const entry = this.#find(fault, start);
    if (!this.#once.first('iommu-fault', entry, Math.floor(start / PLACE))) return;
    const explanation = entry === undefined ? this.#explainNothing(start) : explain(fault, entry);
    const what = `${did(fault)} at ${hex(start)} and the IOMMU refused (${fault.reason})`;
    this.#debug.report({
      kind: 'iommu-fault',
      message: `${this.#debug.name}: ${what}: ${explanation}`,
      entry,
      address: start,
      size: fault.size,
      fault,
    });
  }

  /** The mapping that forbids the access, or otherwise the one that was there last. */
  #find(fault: Fault, start: number): Entry | undefined {
    const { ledger } = this.#debug;
    const needed = neededFor(fault);
    let there: Entry | undefined;
    for (const entry of ledger) {
      if (!holds(entry, start, fault.size)) continue;
      if ((entry.bits & needed) !== needed) return entry;
      there ??= entry;
    }
    return ledger.findReleased(start, fault.size) ?? there;
  }

  #explainNothing(start: number): string {
    const nearest = this.#debug.ledger.nearest(start);
    if (nearest === undefined) return 'it has been given nothing; tell it the address of a mapping';
    const distance = bytes(distanceTo(nearest, start));
    return `nothing is or was there lately, ${thing(nearest)} is ${distance} away; tell it the address of a mapping`;
  }
}

function explain(fault: Fault, entry: Entry): string {
  const needed = neededFor(fault);
  const was = `${thing(entry)} was there until it was ${lost(entry)}`;
  // A direction that forbids the access is the mistake, even if the log is read after the mapping ended.
  if ((entry.bits & needed) !== needed) {
    const direction = fault.access === 'read' ? 'to-device' : 'from-device';
    const where = entry.live
      ? `${thing(entry)} is there`
      : `${was}, and did not let the device ${fault.access}`;
    return `${where}; map it '${direction}' or 'bidirectional'`;
  }
  if (!entry.live) return `${was}; keep it until the device is done with it`;
  return `${thing(entry)} is there now; it came after the fault, or ends before it`;
}
