/**
 * Finds the folder of this package, for the addon. It is beside the running code or, if that code is in a bundle,
 * where Node.js finds the package.
 */
import { existsSync, readFileSync } from 'node:fs';
import nodeModule from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The folder of this package's package.json, from the sources as well as from dist; undefined in a bundle that runs
 * where the package is not installed.
 */
export function findPackage(): string | undefined {
  return above(ownFolder()) ?? installed(process.argv[1]) ?? installed(join(process.cwd(), 'script.js'));
}

/**
 * As findPackage, for callers that need the folder.
 * @throws Error this is a bundle that runs where the package is not installed
 */
export function packageRoot(): string {
  const root = findPackage();
  if (root === undefined) throw new Error('the package userdma is not installed here');
  return root;
}

/**
 * The `require` of a script at `path`. webpack replaces an imported `createRequire` by its own, which knows only the
 * modules of the bundle. It does not replace the property.
 */
export function requireFrom(path: string): NodeJS.Require {
  return nodeModule.createRequire(path);
}

/** Bundlers that write CommonJS leave `import.meta` empty. */
function ownFolder(): string | undefined {
  const url: string | undefined = import.meta.url;
  return url?.startsWith('file:') ? dirname(fileURLToPath(url)) : undefined;
}

function above(start: string | undefined): string | undefined {
  let folder = start;
  while (folder !== undefined) {
    if (isThisPackage(join(folder, 'package.json'))) return folder;
    const parent = dirname(folder);
    folder = parent === folder ? undefined : parent;
  }
  return undefined;
}

function isThisPackage(path: string): boolean {
  try {
    return (
      existsSync(path) && (JSON.parse(readFileSync(path, 'utf8')) as { name?: unknown }).name === 'userdma'
    );
  } catch {
    return false;
  }
}

/** The package as a script at `path` finds it. */
function installed(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return dirname(requireFrom(path).resolve('userdma/package.json'));
  } catch {
    return undefined;
  }
}
