/** The time that programs take to start with this package, beside that of an empty module. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { QUICK, type Sample } from '../measure.ts';
import type { Row } from '../row.ts';

const ROUNDS = QUICK ? 5 : 41;
/** A program of this folder's parent. */
const program = (name: string) => fileURLToPath(new URL(`../${name}.js`, import.meta.url));

/** Nanoseconds from the start of a process to its end. */
function lifetime(path: string): number {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, [path], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${path} ended with status ${status}`);
  return (performance.now() - start) * 1e6;
}

/** @param name of a program @param added nanoseconds that it may take beside an empty module */
function startup(name: string, source: string, added: number): Row {
  return {
    name: `startup: ${name}`,
    targets: [{ added }],
    run() {
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        ours.push(lifetime(program(source)));
        theirs.push(lifetime(program('nothing')));
      }
      const sample = (label: string, rounds: number[]): Sample => ({ label, rounds });
      return { ours: sample('node with userdma', ours), theirs: sample('node with an empty module', theirs) };
    },
  };
}

export const startupRows: readonly Row[] = [
  startup('import userdma', 'only-import', 15e6),
  startup('simulated device, first buffer', 'first-alloc', 25e6),
];
