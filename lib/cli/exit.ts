/** Exit codes, and the output of errors: a sentence for people on stderr, or JSON on stdout for programs. */
import pc from 'picocolors';
import { DmaError, type ErrnoName } from '../errors.ts';

export const EXIT = {
  ok: 0,
  /** doctor found problems, a self-test failed, or another error happened. */
  failed: 1,
  /** The command line is not valid. */
  usage: 2,
  /** The device, driver or feature does not exist here. */
  absent: 3,
  /** This user has no permission. */
  denied: 4,
  /** The device is in use. */
  busy: 5,
} as const;

const CODES: Partial<Record<ErrnoName, number>> = {
  EINVAL: EXIT.usage,
  ENODEV: EXIT.absent,
  ENOSYS: EXIT.absent,
  EOPNOTSUPP: EXIT.absent,
  EACCES: EXIT.denied,
  EPERM: EXIT.denied,
  EBUSY: EXIT.busy,
};

/** Prints an error and sets the exit code. */
export function fail(error: unknown, json: boolean): void {
  const known = error instanceof DmaError;
  const message = error instanceof Error ? error.message : String(error);
  process.exitCode = (known ? CODES[error.code] : undefined) ?? EXIT.failed;
  if (json) {
    console.log(JSON.stringify({ error: { code: known ? error.code : 'ERROR', message } }));
  } else {
    console.error(`${pc.red('error:')} ${message}`);
    if (!known && process.env.USERDMA_DEBUG !== undefined) console.error(error);
  }
}
