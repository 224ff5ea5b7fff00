/**
 * Files of /sys and /proc. Every function returns "nothing" if a file is absent, disappears meanwhile, or may not be
 * read. If no descriptor is left, it throws DmaError EMFILE, because "nothing" would be wrong then.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { DmaError } from './errors.ts';

export function readText(path: string): string | undefined {
  return attempt(() => readFileSync(path, 'utf8'));
}

export function linkTarget(path: string): string | undefined {
  return attempt(() => readlinkSync(path));
}

/** Names in a folder, ascending. */
export function listFolder(path: string): string[] {
  return attempt(() => readdirSync(path).sort()) ?? [];
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EMFILE' && code !== 'ENFILE') return undefined;
    throw new DmaError('EMFILE', 'too many files are open', {
      remedy: 'close some, or raise the limit with ulimit -n',
      cause: error,
    });
  }
}
