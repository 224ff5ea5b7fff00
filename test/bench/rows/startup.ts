/** The time that programs take to start with this package, beside that of an empty module. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../../lib/native/package-root.ts';
import { QUICK, type Sample } from '../measure.ts';
import type { Row } from '../row.ts';

const ROUNDS = QUICK ? 5 : 41;
/** A program of this folder's parent. */
const program = (name: string) => fileURLToPath(new URL(`../${name}.js`, import.meta.url));

/** Nanoseconds from the start of a process to its end. @param args of its program */
function lifetime(path: string, args: readonly string[]): number {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, [path, ...args], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${path} ${args.join(' ')} ended with status ${status}`);
  return (performance.now() - start) * 1e6;
}

/** @param source a program @param added nanoseconds that it may take beside an empty module */
function startup(name: string, source: string, args: readonly string[], added: number): Row {
  return {
    name: `startup: ${name}`,
    targets: [{ added }],
    run() {
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        ours.push(lifetime(program(source), args));
        theirs.push(lifetime(program('nothing'), args));
      }
      const sample = (label: string, rounds: number[]): Sample => ({ label, rounds });
      return { ours: sample('node with userdma', ours), theirs: sample('node with an empty module', theirs) };
    },
  };
}

/** What the package exports, as programs import it: `userdma`, `userdma/nvme`, ... */
function entries(): readonly string[] {
  const text = readFileSync(join(packageRoot(), 'package.json'), 'utf8');
  const { exports } = JSON.parse(text) as { readonly exports: Readonly<Record<string, unknown>> };
  return Object.keys(exports)
    .filter((key) => !key.endsWith('.json'))
    .map((key) => `userdma${key.slice(1)}`);
}

export const startupRows: readonly Row[] = [
  ...entries().map((entry) => startup(`import ${entry}`, 'only-import', [entry], 15e6)),
  startup('simulated device, first buffer', 'first-alloc', [], 25e6),
];
