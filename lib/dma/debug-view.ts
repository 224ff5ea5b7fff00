/** The part of dma-debug (lib/debug) that a driver sees. Types only: a device without dma-debug loads no code of it. */

import type { DmaDirection } from '../direction.ts';
import type { Fault } from '../iommu/fault.ts';
import type { MappingWay } from './streaming/mapping.ts';

/** The mistakes that are reported; docs/dma-debug.md says when, and which the kernel knows. */
export type ReportKind =
  | 'segment-too-long'
  | 'segment-crosses-boundary'
  | 'overlapping-mappings'
  | 'too-many-overlaps'
  | 'released-twice'
  | 'used-after-release'
  | 'sync-out-of-range'
  | 'pending-at-close'
  | 'out-of-entries'
  | 'device-read-unowned'
  | 'device-wrote-unowned'
  | 'device-wrong-direction'
  | 'device-outside-mapping'
  | 'device-after-release'
  | 'cpu-wrote-while-device-owned'
  | 'not-synced-for-cpu'
  | 'not-synced-for-device'
  | 'shared-cache-line'
  | 'freed-while-device-uses'
  | 'iommu-fault'
  | 'iova-not-synced'
  | 'pool-block-poisoned'
  | 'pool-busy'
  | 'declared-memory-busy'
  | 'no-bus-master'
  | 'interrupt-not-armed';

/** Kinds of mappings and allocations. */
export type EntryType =
  | 'coherent'
  | 'noncoherent'
  | 'noncontiguous'
  | 'single'
  | 'scatter-gather'
  | 'resource'
  | 'pool'
  | 'pool-block'
  | 'iova';

/** A live mapping or allocation, as dma-api/dump lists it. */
export interface DmaEntry {
  readonly type: EntryType;
  readonly address: bigint;
  /** Bytes. */
  readonly size: number;
  readonly direction: DmaDirection;
  /** How the device reaches it; of mappings. */
  readonly way: MappingWay | undefined;
  /** Stack of the call that made it, innermost frame first; undefined when it was not kept. */
  readonly stack: string | undefined;
}

/** One mistake. */
export interface DmaReport {
  readonly kind: ReportKind;
  /** Name of the device, e.g. its PCI address. */
  readonly device: string;
  /** One line for people, with the remedy. */
  readonly message: string;
  readonly address: bigint | undefined;
  /** Bytes. */
  readonly size: number | undefined;
  readonly direction: DmaDirection | undefined;
  readonly type: EntryType | undefined;
  /** Stack of the call that mapped or allocated it. */
  readonly mappedAt: string | undefined;
  /** Stack of the call that gave it back, where the mistake came after that. */
  readonly releasedAt: string | undefined;
  /** Stack of the mistake; undefined when the device made it, on its own time. */
  readonly mistakeAt: string | undefined;
  /** The fault that the IOMMU reported. */
  readonly fault: Fault | undefined;
}

/** dma-debug of one device; the names in brackets are the files of debugfs `dma-api/`. */
export interface DmaDebugView {
  /** Reports, the newest thousand, oldest first, printed or not. */
  readonly reports: readonly DmaReport[];
  /** Reports ever made (error_count). */
  readonly errorCount: number;
  /** Print every report (all_errors). Default false. */
  allErrors: boolean;
  /** How many reports more are printed (num_errors). Default 1. */
  numErrors: number;
  /** Only mistakes made in source files whose path contains this are reported (driver_filter); all are counted. */
  driverFilter: string | undefined;
  /** Out of entries: nothing is tracked any more, for good (disabled). */
  readonly disabled: boolean;
  /** Entries of the ledger (nr_total_entries, num_free_entries, min_free_entries). */
  readonly entries: { readonly used: number; readonly peak: number; readonly limit: number };
  /** The live mappings and allocations, oldest first (dump). */
  dump(): readonly DmaEntry[];
  /**
   * Call `listener` with each report from now on; returns a function that stops it.
   * @throws DmaError EINVAL `listener` is no function
   */
  onReport(listener: (report: DmaReport) => void): () => void;
  /** Read the IOMMU faults of this device from the kernel's log; does nothing in a simulation. */
  checkFaults(): void;
  /** Forget the reports made so far. */
  clear(): void;
  /** The function is being closed. @param mayHaveRun whether its driver ever let it start DMA, or it is gone @internal */
  closing(mayHaveRun: boolean): void;
}
