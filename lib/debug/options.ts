/** The options of dma-debug: those of the program, and USERDMA_DEBUG for the rest. */
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

/** Options of dma-debug (docs/dma-debug.md). */
export interface DebugOptions {
  /**
   * The number of entries to track at one time (dma_debug_entries). When it is reached, tracking ends for good.
   * Default: no limit but memory.
   */
  readonly entries?: number;
  /** Print every report (all_errors). Default false. */
  readonly allErrors?: boolean;
  /** Reports printed (num_errors). Default 1. */
  readonly numErrors?: number;
  /** Report only mistakes in source files whose path contains this text (dma_debug_driver). Default: all. */
  readonly driverFilter?: string | undefined;
  /**
   * Which stacks to keep: 'all', 'none', or 'sampled': the first 4,096 and every 1,024th after them. Default
   * 'sampled'. The stack of a mistake is always exact.
   */
  readonly stacks?: Stacks;
  /** Compare the contents of memory that the CPU must not change. Default true. */
  readonly contents?: boolean;
  /** Print reports, as process warnings. Default true; false with USERDMA_DEBUG=quiet. */
  readonly print?: boolean;
}

/** The settings that a program can also change while the device is open. */
export const SETTING_CHECKS = {
  allErrors: checkBoolean,
  numErrors: whole(0, Number.MAX_SAFE_INTEGER),
  driverFilter: checkText,
};

/** Checks the `debug` option: true, false, or options. */
export function checkDebug(wanted: unknown, what: string): void {
  if (typeof wanted === 'boolean') return;
  if (typeof wanted !== 'object')
    throw argumentError(what, wanted, 'pass true, false or options of dma-debug');
  checkOptions<DebugOptions>(wanted, 'debug', {
    entries: checkSize,
    ...SETTING_CHECKS,
    stacks: oneOf('all', 'sampled', 'none'),
    contents: checkBoolean,
    print: checkBoolean,
  });
}

/**
 * @param wanted the program's choice
 * @param byDefault the choice if neither the program nor USERDMA_DEBUG makes one
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
