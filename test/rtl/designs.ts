/**
 * The designs of the examples, built once for all test files and kept until one of their sources changes. Where there is
 * no Verilator nothing is built, and tests that need it say that they were skipped.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaError } from '../../lib/index.ts';
import { type Design, processDesign, wasmDesign } from '../../lib/rtl/index.ts';
import {
  type BuildOptions,
  buildDesign,
  findCompiler,
  findWasmCompiler,
} from '../../lib/rtl/verilate/build.ts';
import { findTool } from '../../lib/rtl/verilate/tools.ts';

export type Target = 'process' | 'wasm';

export const TARGETS: readonly Target[] = ['process', 'wasm'];

const FOLDER = join('build', 'rtl');
const BRIDGE = join('native', 'rtl');
const GLUE = join('lib', 'rtl', 'verilate', 'glue.ts');

const DESIGNS = {
  edu: { top: 'edu', folder: join('examples', 'edu', 'rtl') },
  'axi-dma': { top: 'axi_dma_loopback', folder: join('examples', 'axi-dma', 'rtl') },
} as const;

export type DesignName = keyof typeof DESIGNS;

export const TOPS: Readonly<Record<DesignName, string>> = {
  edu: DESIGNS.edu.top,
  'axi-dma': DESIGNS['axi-dma'].top,
};

/** Why nothing can be built here, or undefined. */
export const missing: string | undefined = findMissing();

function findMissing(): string | undefined {
  if (process.env.USERDMA_VM !== undefined) return 'not in the virtual machine';
  // What a build would say is missing.
  try {
    findTool(['verilator'], 'Verilator', 'verilator');
    findCompiler();
    findWasmCompiler();
  } catch (error) {
    if (error instanceof DmaError) return error.message;
    throw error;
  }
  return undefined;
}

/** One of the designs. */
export function design(name: DesignName, target: Target): Promise<Design> {
  return built(name, target, { sources: sourcesOf(name), top: DESIGNS[name].top });
}

/** Any design. @param name of its files, without a dash and sixteen digits at its end */
export async function built(
  name: string,
  target: Target,
  options: Omit<BuildOptions, 'out' | 'target'>,
): Promise<Design> {
  const file = await fileOf(name, target, options);
  return target === 'wasm' ? wasmDesign(file) : processDesign(`./${file}`);
}

/** The same, for a test that opens it in another program. */
export async function fileOf(
  name: string,
  target: Target,
  options: Omit<BuildOptions, 'out' | 'target'>,
): Promise<string> {
  const suffix = target === 'wasm' ? '.wasm' : '';
  const files = [...options.sources, ...filesIn(BRIDGE), GLUE];
  const file = join(FOLDER, `${name}-${digest(files)}${suffix}`);
  await once(file, (out) => buildDesign({ ...options, target, out }));
  removeOthers(file, new RegExp(`^${name}-[0-9a-f]{16}${suffix.replace('.', '\\.')}$`));
  return file;
}

/** What was built of sources that have changed since. */
function removeOthers(file: string, pattern: RegExp): void {
  for (const other of readdirSync(FOLDER)) {
    if (pattern.test(other) && other !== basename(file)) rmSync(join(FOLDER, other), { force: true });
  }
}

export function sourcesOf(name: DesignName): string[] {
  return filesIn(DESIGNS[name].folder).filter((file) => file.endsWith('.v'));
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((file) => join(folder, file))
    .filter((file) => statSync(file).isFile())
    .sort();
}

function digest(files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file.split('/').at(-1)!).update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

/** Test files run side by side: the first one builds, the others wait for it. */
async function once(file: string, build: (out: string) => Promise<unknown>): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const lock = `${file}.lock`;
  while (!existsSync(file)) {
    try {
      mkdirSync(lock);
    } catch {
      if (isStale(lock)) rmSync(lock, { recursive: true, force: true });
      else await sleep(200);
      continue;
    }
    const alive = setInterval(() => touch(lock), 1000);
    try {
      if (existsSync(file)) return;
      await build(`${file}.new`);
      renameSync(`${file}.new`, file);
    } finally {
      clearInterval(alive);
      rmSync(lock, { recursive: true, force: true });
    }
  }
}

/** Whether the process that had the lock was killed: it has not touched it for longer than a busy machine explains. */
function isStale(lock: string): boolean {
  try {
    return Date.now() - statSync(lock).mtimeMs > 60_000;
  } catch {
    return false;
  }
}

function touch(lock: string): void {
  utimesSync(lock, new Date(), new Date());
}
