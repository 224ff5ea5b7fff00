/**
 * Builds the native addon with node-gyp when its sources are newer than it. Part of `npm run build`.
 *
 * Without a compiler, or on a system that can have no addon, it says so in one line and succeeds: simulation needs no addon. A compile error fails.
 */
import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildAddon as buildNative, missingTools } from '../lib/native/build.ts';
import { packageRoot } from '../lib/native/package-root.ts';
import { whyNoAddon } from '../lib/native/processor.ts';

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
  const tests = ['access/access_probe.cc', 'bench/comparators.cc', 'bench/wakeups.cc'].map((name) =>
    join(root, 'test', name),
  );
  // The folder itself: its time tells of files that went.
  const all = (folder: string) => [folder, ...readdirSync(folder).map((name) => join(folder, name))];
  const kernel = join(root, 'test', 'native', 'fake_kernel');
  return [...all(native), ...(existsSync(kernel) ? all(kernel) : []), ...tests.filter(existsSync)];
}

/** Builds everything native of the checkout at `root`; quiet when it works. Returns node-gyp's exit status. */
export function nodeGyp(root: string, env: NodeJS.ProcessEnv = process.env): number {
  const built = buildNative(root, env);
  if (built.addon === undefined) {
    process.stderr.write(built.output);
    return built.status;
  }
  const now = new Date();
  utimesSync(built.addon, now, now); // make leaves it alone when a change made no difference
  return 0;
}

function noTools(): string | undefined {
  const missing = missingTools();
  return missing.length > 0 ? `${missing.join(', ')} not found` : undefined;
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
