/** How a device is debugged: what the program says, and USERDMA_DEBUG where it says nothing. */
import {
  argumentError,
  checkBoolean,
  checkOptions,
  checkSize,
  checkText,
  oneOf,
  whole,
} from '../arguments.ts';
import type { Stacks } from './sites.ts';

export interface DebugOptions {
  /**
   * Things tracked at once (dma_debug_entries); beyond, tracking ends for good. Default: as many as there is memory
   * for.
   */
  readonly entries?: number;
  /** Print every report (all_errors). Default false. */
  readonly allErrors?: boolean;
  /** Reports printed (num_errors). Default 1. */
  readonly numErrors?: number;
  /** Report only mistakes made in source files whose path contains this (dma_debug_driver). Default: all. */
  readonly driverFilter?: string | undefined;
  /**
   * Whose stacks are kept: 'all', 'none', or 'sampled': the first 4,096 and every 1,024th after them. Default
   * 'sampled'. The stack of a mistake is always exact.
   */
  readonly stacks?: Stacks;
  /** Compare the contents of what the CPU must not change. Default true. */
  readonly contents?: boolean;
  /** Print reports, as warnings of the process. Default true; false with USERDMA_DEBUG=quiet. */
  readonly print?: boolean;
}

/** What can be said of debugging: whether, or how. */
export function checkDebug(wanted: unknown, what: string): void {
  if (typeof wanted === 'boolean') return;
  if (typeof wanted !== 'object')
    throw argumentError(what, wanted, 'pass true, false or options of dma-debug');
  checkOptions<DebugOptions>(wanted, 'debug', {
    entries: checkSize,
    allErrors: checkBoolean,
    numErrors: whole(0, Number.MAX_SAFE_INTEGER),
    driverFilter: checkText,
    stacks: oneOf('all', 'sampled', 'none'),
    contents: checkBoolean,
    print: checkBoolean,
  });
}

/**
 * @param wanted what the program says @param byDefault whether to debug where neither it nor USERDMA_DEBUG says
 *   anything
 * @returns undefined: do not debug
 * @throws DmaError EINVAL entries
 */
export function debugOptions(
  wanted: boolean | DebugOptions | undefined,
  byDefault: boolean,
): DebugOptions | undefined {
  const variable = process.env.USERDMA_DEBUG;
  const quiet = variable === 'quiet' ? { print: false } : {};
  if (wanted !== undefined) checkDebug(wanted, 'option debug');
  if (typeof wanted === 'object') return { ...quiet, ...wanted };
  const on = wanted ?? (variable === '1' || variable === 'quiet' || (variable !== '0' && byDefault));
  return on ? quiet : undefined;
}
