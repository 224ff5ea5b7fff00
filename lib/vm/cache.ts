/** Folders of the cache, which are fetched or built once. */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * The folder `name` of the cache. If it is not there, `fill` makes it: it gets the empty folder, and another one for what
 * is not kept. A folder that could not be filled is not kept either.
 */
export function cachedFolder(
  cache: string,
  name: string,
  fill: (folder: string, work: string) => void,
): string {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'fetch-'));
  try {
    const unfinished = join(work, basename(name));
    mkdirSync(unfinished);
    fill(unfinished, work);
    // Another process may have been faster: then its folder stays.
    if (!existsSync(folder)) renameSync(unfinished, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}
