/**
 * dma-debug of one device (kernel/dma/debug.c). The parts of the device tell it about mappings and mistakes. It makes
 * ledger entries of the former and reports of the latter. It does not change the behaviour of the parts.
 *
 *      DebugDmaDevice   device.ts                       makes all of this, and closes it
 *      its parts        streaming, lists, resources, pool
 *        |  enter, leave            |  report           |  before and after
 *      Ledger, Overlaps           Report              Watch: who owns which byte (watch.ts)
 */
import { checkListener } from '../arguments.ts';
import type { DmaDebugView, DmaEntry, DmaReport, ReportKind } from '../dma/debug-view.ts';
import type { OwnMemory } from '../dma/operations/own-memory.ts';
import type { Misuse } from '../dma/words/misuse.ts';
import { type DmaError, throwUncaught } from '../errors.ts';
import type { Attribution } from './attribution.ts';
import { describeEntry, type Entry, type HeldEntry } from './entry.ts';
import { Ledger } from './ledger.ts';
import { type DebugOptions, SETTING_CHECKS } from './options.ts';
import type { Conflict } from './overlaps.ts';
import { pendingMistakes } from './pending.ts';
import type { WatchedPool } from './pools.ts';
import { type Mistake, Report } from './report.ts';
import type { Watch } from './watch.ts';

/** The number of reports to keep. */
const KEPT = 1000;

/** The parts of dma-debug that need the device's memory. Simulated and real devices have different ones. */
export interface Observers {
  /** True if the device is real, so that no software sees its accesses. Default false. */
  readonly isHardware?: boolean;
  readonly watch?: Watch | undefined;
  readonly attribution?: Attribution | undefined;
}

/** dma-debug of one device: its ledger, its reports and its options. */
export class DmaDebug implements DmaDebugView {
  readonly ledger: Ledger;
  readonly options: DebugOptions;
  /** The device's name, for messages. */
  readonly name: string;
  /** Looks at the bytes that change owner; undefined if the contents of memory are not watched. `begin` sets it. */
  watch: Watch | undefined = undefined;
  /** Pools that were not destroyed. */
  readonly pools = new Set<WatchedPool>();
  /** Reads IOMMU faults from the kernel's log; undefined in a simulation. `begin` sets it. */
  attribution: Attribution | undefined = undefined;

  readonly #print: boolean;
  #isHardware = false;
  readonly #reports: Report[] = [];
  readonly #listeners = new Set<(report: DmaReport) => void>();
  #errorCount = 0;
  #allErrors: boolean;
  #numErrors: number;
  #driverFilter: string | undefined;

  constructor(name: string, options: DebugOptions = {}) {
    const { entries, stacks, allErrors = false, numErrors = 1, driverFilter, print = true } = options;
    this.name = name;
    this.#print = print;
    this.options = options;
    this.#allErrors = allErrors;
    this.#numErrors = numErrors;
    this.#driverFilter = driverFilter;
    this.ledger = new Ledger({ entries, stacks, onExhausted: () => this.#outOfEntries() });
  }

  /** To be called once, when the device has its memory. Calls of the driver are observed from then on. */
  begin({ isHardware = false, watch, attribution }: Observers): void {
    this.#isHardware = isHardware;
    this.watch = watch;
    this.attribution = attribution;
  }

  /** The block of a pool at this device address, allocated or free. */
  blockAt(own: OwnMemory, address: number): HeldEntry | undefined {
    const region = own.regionAt(address);
    if (region === undefined) return undefined;
    for (const pool of this.pools) {
      const block = pool.blockAt(region, address);
      if (block !== undefined) return block;
    }
    return undefined;
  }

  get allErrors(): boolean {
    return this.#allErrors;
  }

  set allErrors(wanted: boolean) {
    SETTING_CHECKS.allErrors(wanted, 'allErrors');
    this.#allErrors = wanted;
  }

  get numErrors(): number {
    return this.#numErrors;
  }

  set numErrors(wanted: number) {
    SETTING_CHECKS.numErrors(wanted, 'numErrors');
    this.#numErrors = wanted;
  }

  get driverFilter(): string | undefined {
    return this.#driverFilter;
  }

  set driverFilter(wanted: string | undefined) {
    if (wanted !== undefined) SETTING_CHECKS.driverFilter(wanted, 'driverFilter');
    this.#driverFilter = wanted;
  }

  get reports(): readonly DmaReport[] {
    this.checkFaults();
    return this.#reports;
  }

  get errorCount(): number {
    return this.#errorCount;
  }

  get disabled(): boolean {
    return this.ledger.disabled;
  }

  get entries(): { readonly used: number; readonly peak: number; readonly limit: number } {
    const { used, peak, limit } = this.ledger;
    return { used, peak, limit };
  }

  dump(): readonly DmaEntry[] {
    const blocks = [...this.pools].flatMap((pool) => pool.out());
    return [...this.ledger, ...blocks].map(describeEntry);
  }

  onReport(listener: (report: DmaReport) => void): () => void {
    checkListener(listener);
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  checkFaults(): void {
    this.attribution?.read();
  }

  clear(): void {
    this.#reports.length = 0;
  }

  /** Reports a mistake. Returns undefined if the driver filter hides it; it counts nevertheless. */
  report(mistake: Mistake): DmaReport | undefined {
    const report = new Report(this.name, mistake, this.ledger.makers);
    this.#errorCount++;
    const printed = this.allErrors || this.numErrors > 0;
    // As in the kernel, a mistake that the filter hides uses up one of `numErrors`, too.
    if (!this.allErrors && this.numErrors > 0) this.numErrors--;
    if (!this.#passes(report)) return undefined;
    if (this.#reports.length === KEPT) this.#reports.shift();
    this.#reports.push(report);
    if (printed && this.#print) print(report);
    for (const listener of this.#listeners) tell(listener, report);
    return report;
  }

  /** A driver misused a handle. @returns `error`, which will be thrown */
  refused(misuse: Misuse, entry: Entry | undefined, error: DmaError): DmaError {
    this.mistake(misuse, error.message, entry);
    return error;
  }

  /** Reports a mistake that the driver makes in the present call. */
  mistake(kind: ReportKind, message: string, entry: Entry | undefined): void {
    if (this.disabled) return;
    this.report({ kind, message: `${this.name}: ${message}`, entry, mistakeAt: 'now' });
  }

  /** The device is closing. Live mappings and allocations are reported, once for each call site. */
  reportPending(): void {
    const blocks = [...this.pools].filter(({ managed }) => !managed).flatMap((pool) => pool.out());
    for (const mistake of pendingMistakes(this.name, [...this.ledger, ...blocks])) this.report(mistake);
  }

  /** A simulation needs no report: it reports the first access of the device with bus mastering off. */
  closing(mayHaveRun: boolean): void {
    if (mayHaveRun || !this.#isHardware || this.ledger.peak === 0) return;
    const fact = 'memory was given to the device, and bus mastering was off until the device was closed';
    const message = `${fact}: the device reached none of it; if the driver started the device, it has to call setMaster() first`;
    this.mistake('no-bus-master', message, undefined);
  }

  /** Reports that two mappings conflict. */
  conflict(conflict: Conflict, entry: Entry, other: Entry): void {
    this.mistake(conflict, describeConflict(conflict, entry, other), other);
  }

  #outOfEntries(): void {
    const { limit } = this.ledger;
    const message = `${this.name}: all ${limit} entries are used: nothing is tracked any more; raise debug.entries`;
    this.report({ kind: 'out-of-entries', message, mistakeAt: 'now' });
  }

  #passes({ mistakeAt, mappedAt }: DmaReport): boolean {
    const { driverFilter } = this;
    if (driverFilter === undefined) return true;
    return (mistakeAt ?? mappedAt ?? '').includes(driverFilter);
  }
}

function describeConflict(conflict: Conflict, entry: Entry, other: Entry): string {
  const both = `${entry.size} bytes and a live mapping of ${other.size} bytes`;
  if (conflict === 'overlapping-mappings') {
    return `overlapping mappings: ${both} share bytes that the device may write; unmap one before the other is mapped`;
  }
  if (conflict === 'too-many-overlaps') {
    return `more than 7 overlapping mappings: ${both} are two of them; unmap what the device is done with`;
  }
  const remedy = 'align them to limits.cacheAlignment';
  return `${both} share a cache line that the device may write: what either side wrote there can be lost; ${remedy}`;
}

/** An error of a listener becomes an uncaught exception: it must not change the call that is reported. */
function tell(listener: (report: DmaReport) => void, report: DmaReport): void {
  try {
    listener(report);
  } catch (error) {
    throwUncaught(error);
  }
}

function print({ message, kind, mistakeAt, mappedAt, releasedAt }: DmaReport): void {
  const stacks = [
    ['mistake', mistakeAt],
    ['mapped or allocated', mappedAt],
    ['released', releasedAt],
  ].flatMap(([what, stack]) => (stack === undefined ? [] : [`  ${what}:`, stack]));
  process.emitWarning(message, { type: 'DmaDebugWarning', code: kind, detail: stacks.join('\n') });
}
