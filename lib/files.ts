/** Files of /sys and /proc. All answer "nothing" for what is absent, vanishes meanwhile, or may not be looked at. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

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
  } catch {
    return undefined;
  }
}
