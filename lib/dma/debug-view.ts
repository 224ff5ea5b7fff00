/**
 * The part of dma-debug (lib/debug) that a driver sees. This file has types only: a device without dma-debug loads no
 * code of it.
 */

import type { DmaDirection } from '../direction.ts';
import type { Fault } from '../iommu/fault.ts';
import type { MappingWay } from './streaming/mapping.ts';

/**
 * The mistakes that dma-debug reports. docs/dma-debug.md says when it reports each, and which of them the kernel
 * reports too.
 */
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

/** The kinds of mappings and allocations. */
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
  /** How the device reaches the memory. It is undefined for allocations. */
  readonly way: MappingWay | undefined;
  /** The stack of the call that made the entry, innermost frame first. It is undefined if it was not kept. */
  readonly stack: string | undefined;
}

/** One mistake. */
export interface DmaReport {
  readonly kind: ReportKind;
  /** The name of the device, e.g. its PCI address. */
  readonly device: string;
  /** One line for people, with the remedy. */
  readonly message: string;
  readonly address: bigint | undefined;
  /** Bytes. */
  readonly size: number | undefined;
  readonly direction: DmaDirection | undefined;
  readonly type: EntryType | undefined;
  /** The stack of the call that mapped or allocated the memory. */
  readonly mappedAt: string | undefined;
  /** The stack of the call that unmapped or freed the memory, if the mistake came after that. */
  readonly releasedAt: string | undefined;
  /** The stack of the mistake. It is undefined if the device made the mistake, at a time of its own. */
  readonly mistakeAt: string | undefined;
  /** The fault that the IOMMU reported. */
  readonly fault: Fault | undefined;
}

/** The dma-debug of one device. The names in brackets are the files of debugfs `dma-api/`. */
export interface DmaDebugView {
  /** The newest thousand reports, oldest first, printed or not. */
  readonly reports: readonly DmaReport[];
  /** The number of reports ever made (error_count). */
  readonly errorCount: number;
  /** If true, every report is printed (all_errors). Default false. */
  allErrors: boolean;
  /** The number of further reports that are printed (num_errors). Default 1. */
  numErrors: number;
  /**
   * If set, only mistakes made in source files whose path contains this text are reported (driver_filter). All
   * mistakes are counted.
   */
  driverFilter: string | undefined;
  /** True once the entries ran out: from then on dma-debug tracks nothing more (disabled). */
  readonly disabled: boolean;
  /** The entries of the ledger (nr_total_entries, num_free_entries, min_free_entries). */
  readonly entries: { readonly used: number; readonly peak: number; readonly limit: number };
  /** The live mappings and allocations, oldest first (dump). */
  dump(): readonly DmaEntry[];
  /**
   * Call `listener` with each report from now on. The function that is returned stops that.
   * @throws DmaError EINVAL `listener` is no function
   */
  onReport(listener: (report: DmaReport) => void): () => void;
  /** Read the IOMMU faults of this device from the kernel's log. In a simulation this does nothing. */
  checkFaults(): void;
  /** Forget the reports made so far. */
  clear(): void;
  /**
   * The function is being closed.
   * @param mayHaveRun true if its driver ever let it start DMA, or if the device is gone
   * @internal
   */
  closing(mayHaveRun: boolean): void;
}
