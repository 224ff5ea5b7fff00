/**
 * Bundles what is published: a program that imports 200 files waits for each, one after the other. Every entry of `exports`
 * and `bin` in package.json is bundled from its source, and what several need is in chunks that they share.
 *
 *      node dist/test/package/bundle.js
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { packageRoot } from '../../lib/native/package-root.ts';

const OUT = 'dist/bundle/';

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
}

/** `./dist/bundle/sim/index.js` is made of `lib/sim/index.ts`, and `dist/bundle/examples/...` of `examples/...`. */
function sourceOf(name: string): string {
  return name.startsWith('examples/') ? name : `lib/${name}`;
}

/** Names of the files that package.json wants, without folder and ending, e.g. `sim/index`. */
export function entries(root: string): string[] {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
  const files = Object.values(manifest.exports).map((entry) =>
    typeof entry === 'string' ? entry : entry.default,
  );
  return [...files, ...Object.values(manifest.bin)]
    .map((path) => path.replace(/^\.\//, ''))
    .filter((path) => path.startsWith(OUT))
    .map((path) => path.slice(OUT.length).replace(/\.js$/, ''));
}

export async function bundle(root: string): Promise<void> {
  const outdir = join(root, OUT);
  rmSync(outdir, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(entries(root).map((name) => [name, join(root, `${sourceOf(name)}.ts`)])),
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    packages: 'external',
    // dma-debug knows this library's frames by it (lib/debug/sites.ts).
    chunkNames: 'chunks/userdma-[hash]',
    sourcemap: 'linked',
    logLevel: 'warning',
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundle(packageRoot());
