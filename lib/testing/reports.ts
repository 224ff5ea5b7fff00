/** The reports of dma-debug, as a failed assertion. */

import { AssertionError } from 'node:assert';
import { argumentError } from '../arguments.ts';
import type { DmaDebugView, DmaReport } from '../dma/debug-view.ts';
import { DmaError } from '../errors.ts';

/** A PciFunction, or a DmaDevice. */
export type DmaTarget = DebuggedDevice | { readonly dma: DebuggedDevice };

interface DebuggedDevice {
  readonly name: string;
  readonly debug: DmaDebugView | undefined;
}

/**
 * Fails if dma-debug has reported a mistake of this device since it was opened, or since `debug.clear()`. It first
 * reads new IOMMU faults from the kernel's log. The function may be closed.
 * @param target a PciFunction or its `dma`
 * @throws AssertionError with every report · DmaError EOPNOTSUPP the device was opened without debugging
 */
export function expectNoDmaErrors(target: DmaTarget): void {
  const device = deviceOf(target);
  const { debug } = device;
  if (debug === undefined) {
    throw new DmaError('EOPNOTSUPP', `${device.name} was opened without dma-debug, so nothing can be said`, {
      remedy: 'open it with { debug: true }, or set USERDMA_DEBUG=1',
    });
  }
  const reports = reportsOf(debug);
  if (reports.length === 0) return;
  throw failure(describeReports(device.name, debug, reports), expectNoDmaErrors);
}

function deviceOf(target: unknown): DebuggedDevice {
  const { dma = target } = (target ?? {}) as { readonly dma?: unknown };
  // The object may be a stand-in for a device, in a test of a test: it needs only these two fields.
  const { name, debug } = (dma ?? {}) as { readonly name?: unknown; readonly debug?: unknown };
  const isView = debug === undefined || typeof (debug as Partial<DmaDebugView>)?.checkFaults === 'function';
  if (typeof name === 'string' && isView) return dma as DebuggedDevice;
  throw argumentError('what is asked for reports', target, 'pass a PciFunction or its dma');
}

/** All reports until now. */
export function reportsOf(debug: DmaDebugView): readonly DmaReport[] {
  debug.checkFaults();
  return debug.reports;
}

/** For people: each report with its stacks. */
export function describeReports(name: string, debug: DmaDebugView, reports: readonly DmaReport[]): string {
  const more = debug.errorCount > reports.length ? ` (of ${debug.errorCount})` : '';
  const title = `${name}: ${reports.length} DMA ${reports.length === 1 ? 'error' : 'errors'}${more}`;
  return [title, ...reports.map(describeReport)].join('\n');
}

/** @param caller a function to leave out of the stack, so that the stack starts at the test */
export function failure(message: string, caller: (...parameters: never[]) => unknown): AssertionError {
  return new AssertionError({ message, stackStartFn: caller });
}

function describeReport(report: DmaReport, index: number): string {
  const { kind, message, mistakeAt, mappedAt, releasedAt } = report;
  return [
    `${index + 1}) ${kind}: ${message}`,
    ...stack('the mistake', mistakeAt),
    ...stack('mapped or allocated', mappedAt),
    ...stack('released', releasedAt),
  ].join('\n');
}

function stack(title: string, frames: string | undefined): string[] {
  if (frames === undefined) return [];
  const lines = frames.split('\n').map((line) => `       ${line.trim()}`);
  return [`     ${title}:`, ...withoutRunner(lines)];
}

/** Removes the frames that all stacks share at their outer end: the test framework and Node.js. */
function withoutRunner(lines: readonly string[]): readonly string[] {
  const last = lines.findLastIndex((line) => !/[\\/]node_modules[\\/]|\bnode:|<anonymous>/.test(line));
  return last < 0 ? lines : lines.slice(0, last + 1);
}
