/** What is kept of a boot, or of a run on the host: a line of JSON each. */
import type { Result } from './reporter.ts';

export type Counts = Record<Result, number>;

export interface BootResult extends Counts {
  readonly machine: string;
  readonly architecture: string;
  readonly iommu: string;
  readonly linux: string;
  readonly qemu: string;
  readonly node: string;
  readonly seconds: number;
  readonly failures: readonly { readonly name: string; readonly file: string }[];
  /** Of each skipped test. */
  readonly reasons: readonly string[];
}
