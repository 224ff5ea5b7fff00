/**
 * Builds the native addon with node-gyp when its sources are newer than it. Part of `npm run build`.
 *
 * Without a compiler, or on a system that can have no addon, it says so in one line and succeeds: simulation needs no addon. A compile error fails.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../lib/native/load.ts';
import { whyNoAddon } from '../lib/native/processor.ts';

const COMPILERS = ['g++', 'c++', 'clang++'];

/** What is missing to compile the addon, in words; empty when nothing is. */
export function missingTools(env: NodeJS.ProcessEnv = process.env): string[] {
  const compilers = env.CXX === undefined ? COMPILERS : [env.CXX];
  const missing: string[] = [];
  if (!compilers.some((name) => onPath(name, env))) missing.push('a C++ compiler');
  if (!onPath('make', env)) missing.push('make');
  if (!onPath('python3', env)) missing.push('Python 3');
  return missing;
}

function noTools(): string | undefined {
  const missing = missingTools();
  return missing.length > 0 ? `${missing.join(', ')} not found` : undefined;
}

function onPath(name: string, env: NodeJS.ProcessEnv): boolean {
  const program = name.trim().split(/\s+/)[0] ?? name;
  const folders = program.includes('/') ? [''] : (env.PATH ?? '').split(delimiter);
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Whether anything the addon in `root` is made of is newer than it, or it is not there. */
export function isStale(root: string): boolean {
  const addon = addonPath(root);
  if (!existsSync(addon)) return true;
  const built = statSync(addon).mtimeMs;
  const sources = [join(root, 'binding.gyp'), ...nativeSources(root)];
  return sources.some((path) => statSync(path).mtimeMs > built);
}

function addonPath(root: string): string {
  return join(root, 'build', 'Release', 'userdma.node');
}

function nativeSources(root: string): string[] {
  const native = join(root, 'native');
  const tests = ['access/access_probe.cc', 'bench/comparators.cc'].map((name) => join(root, 'test', name));
  // The folder itself: its time tells of files that went.
  const all = (folder: string) => [folder, ...readdirSync(folder).map((name) => join(folder, name))];
  const kernel = join(root, 'test', 'native', 'fake_kernel');
  return [...all(native), ...(existsSync(kernel) ? all(kernel) : []), ...tests.filter(existsSync)];
}

/** Runs node-gyp in `root`; quiet when it works. Returns its exit status. */
export function nodeGyp(root: string, env: NodeJS.ProcessEnv = process.env): number {
  const script = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node.h')) ? [`--nodedir=${prefix}`] : [];
  const args = [script, 'configure', 'build', '--silent', `--directory=${root}`, ...headers];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', env });
  if (run.status !== 0) {
    process.stderr.write(`${run.stdout}${run.stderr}`);
    return run.status ?? 1;
  }
  const now = new Date();
  utimesSync(addonPath(root), now, now); // make leaves it alone when a change made no difference
  return 0;
}

/** Builds it where it can be built and is not up to date. Returns an exit status. */
export function buildAddon(): number {
  const root = packageRoot();
  const reason = whyNoAddon() ?? (isStale(root) ? noTools() : undefined);
  if (reason !== undefined) {
    console.log(`native addon not built: ${reason}; tests of it are skipped, simulation works`);
    return 0;
  }
  return isStale(root) ? nodeGyp(root) : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = buildAddon();
