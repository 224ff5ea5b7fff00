/** Modules for the kernel of our own. A module is built in a second, and kept until its sources change. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { HarnessError } from '../../lib/vm/harness-error.ts';
import type { Kernel } from '../../lib/vm/kernel.ts';
import { headersOf } from './own-kernel.ts';

/**
 * The path of the built module.
 * @param kernel our own kernel
 * @param sources folder with a Kbuild file and the sources of one module
 */
export function ownModule(kernel: Kernel, sources: string, cache: string): string {
  const headers = headersOf(kernel.modules);
  const hash = createHash('sha256').update(kernel.modules);
  for (const name of readdirSync(sources).sort()) hash.update(name).update(readFileSync(join(sources, name)));
  const path = join(cache, `module-${basename(sources)}-${hash.digest('hex').slice(0, 12)}.ko`);
  if (!existsSync(path)) build(headers, sources, cache, path);
  return path;
}

/** Builds a copy of the sources: the kernel's build leaves files beside them. */
function build(headers: string, sources: string, cache: string, path: string): void {
  const work = mkdtempSync(join(cache, 'module-'));
  try {
    cpSync(sources, work, { recursive: true });
    execFileSync('make', ['-s', '-C', headers, `M=${work}`, 'modules'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    });
    const made = readdirSync(work).find((name) => name.endsWith('.ko'));
    if (made === undefined) throw new Error('no module was made');
    renameSync(join(work, made), path);
  } catch (cause) {
    const why = (cause as { stderr?: string }).stderr || String(cause);
    throw new HarnessError(`the module of ${sources} could not be built:\n${why}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
