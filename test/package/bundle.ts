/**
 * Bundles what is published: a program that imports 200 files waits for each, one after the other. Every entry of `exports`
 * and `bin` in package.json is bundled from its source. What `userdma` needs is one chunk, what the simulation needs beside
 * it is another, and what a program may never ask for is in chunks that are loaded when it does.
 *
 *      node dist/test/package/bundle.js
 */
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Plugin, type PluginContext, rolldown } from 'rolldown';
import { packageRoot } from '../../lib/native/package-root.ts';

const OUT = 'dist/bundle/';

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** What these entries import at once is a chunk each. The chunk of the first has what the second needs, too. */
const CHUNKS = { core: 'lib/index.ts', sim: 'lib/sim/index.ts' };

type Modules = Pick<PluginContext, 'getModuleInfo'>;

/** The modules that `entry` imports, and those that they import, without what they load when they need it. */
function imports(entry: string, modules: Modules): Set<string> {
  const ids = new Set([entry]);
  for (const id of ids)
    for (const imported of modules.getModuleInfo(id)?.importedIds ?? []) ids.add(imported);
  return ids;
}

/** Names the chunk of a module; null for what only the command, other entries or dynamic imports need. */
function chunkOf(root: string): (id: string, modules: Modules) => string | null {
  let chunks: (readonly [name: string, ids: Set<string>])[] | undefined;
  return (id, modules) => {
    chunks ??= Object.entries(CHUNKS).map(([name, entry]) => [name, imports(join(root, entry), modules)]);
    return chunks.find(([, ids]) => ids.has(id))?.[0] ?? null;
  };
}

/** `./dist/bundle/sim/index.js` is made of `lib/sim/index.ts`, and `dist/bundle/examples/...` of `examples/...`. */
function sourceOf(name: string): string {
  return name.startsWith('examples/') ? name : `lib/${name}`;
}

/** Names of the files that package.json wants, without folder and ending, e.g. `sim/index`. */
export function entries(root: string): string[] {
  const { exports, bin } = manifestOf(root);
  const files = Object.values(exports).map((entry) => (typeof entry === 'string' ? entry : entry.default));
  return [...files, ...Object.values(bin)]
    .map((path) => path.replace(/^\.\//, ''))
    .filter((path) => path.startsWith(OUT))
    .map((path) => path.slice(OUT.length).replace(/\.js$/, ''));
}

function manifestOf(root: string): Manifest {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
}

/**
 * An import of a builtin module makes Node.js read every export of it, and many of those load more: a third of
 * the time that this library took to start. `process.getBuiltinModule` reads nothing.
 */
const builtins: Plugin = {
  name: 'builtins',
  renderChunk(code) {
    const rewritten = code
      .replace(/^import \{(.*)\} from "(node:.*)";$/gm, (_, names: string, module: string) => {
        return `const {${names.replaceAll(' as ', ': ')}} = process.getBuiltinModule("${module}");`;
      })
      .replace(/^import (?:\* as )?(\w+) from "(node:.*)";$/gm, 'const $1 = process.getBuiltinModule("$2");');
    return { code: rewritten, map: null }; // each line is where it was
  },
};

export async function bundle(root: string): Promise<void> {
  const dir = join(root, OUT);
  rmSync(dir, { recursive: true, force: true });
  const dependencies = Object.keys(manifestOf(root).dependencies);
  const build = await rolldown({
    cwd: root,
    platform: 'node',
    input: Object.fromEntries(entries(root).map((name) => [name, join(root, `${sourceOf(name)}.ts`)])),
    external: [/^node:/, ...dependencies.map((name) => new RegExp(`^${name}(/|$)`))],
    transform: { target: 'node20.19' },
    plugins: [builtins],
  });
  await build.write({
    dir,
    format: 'esm',
    sourcemap: true,
    comments: { legal: true, annotation: true, jsdoc: false },
    entryFileNames: '[name].js',
    // dma-debug knows this library's frames by it (lib/debug/sites.ts).
    chunkFileNames: 'chunks/userdma-[hash].js',
    hashCharacters: 'base36',
    codeSplitting: { groups: [{ name: chunkOf(root), debugName: 'chunkOf' }] },
  });
  for (const command of Object.values(manifestOf(root).bin)) chmodSync(join(root, command), 0o755);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundle(packageRoot());
