/** What a call fails with, for tests that look at more than whether it does. */
import { DmaError } from '../lib/errors.ts';

/** @throws Error when it fails otherwise, or not at all */
export function errorOf(action: () => unknown): DmaError {
  try {
    action();
  } catch (error) {
    if (error instanceof DmaError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** The code of its DmaError, `none` when it does not fail. */
export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DmaError) return error.code;
    throw error;
  }
  return 'none';
}
