/**
 * The designs of the examples, built once for all test files and kept until one of their sources changes. Where there is
 * no Verilator nothing is built, and tests that need it say that they were skipped.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Design, processDesign, wasmDesign } from '../../lib/rtl/index.ts';
import { buildDesign } from '../../lib/rtl/verilate/build.ts';

export type Target = 'process' | 'wasm';

export const TARGETS: readonly Target[] = ['process', 'wasm'];

const FOLDER = join('build', 'rtl');
const BRIDGE = join('native', 'rtl');

const DESIGNS = {
  edu: { top: 'edu', folder: join('examples', 'edu', 'rtl') },
  'axi-dma': { top: 'axi_dma_loopback', folder: join('examples', 'axi-dma', 'rtl') },
} as const;

export type DesignName = keyof typeof DESIGNS;

/** Why nothing can be built here, or undefined. */
export const missing: string | undefined = findMissing();

function findMissing(): string | undefined {
  if (process.env.USERDMA_VM !== undefined) return 'not in the virtual machine';
  if (spawnSync('verilator', ['--version']).error !== undefined) return 'Verilator is not installed';
  return undefined;
}

/** @param sources other files than the design's own, for one with a bug in it */
export async function design(name: DesignName, target: Target, sources = sourcesOf(name)): Promise<Design> {
  const { top } = DESIGNS[name];
  const file = join(
    FOLDER,
    `${name}-${digest([...sources, ...filesIn(BRIDGE)])}${target === 'wasm' ? '.wasm' : ''}`,
  );
  await once(file, (out) => buildDesign({ sources, top, target, out }));
  return target === 'wasm' ? wasmDesign(file) : processDesign(`./${file}`);
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
      await sleep(200);
      continue;
    }
    try {
      if (existsSync(file)) return;
      await build(`${file}.new`);
      renameSync(`${file}.new`, file);
    } finally {
      rmdirSync(lock);
    }
  }
}
