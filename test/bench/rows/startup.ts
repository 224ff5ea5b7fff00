/** What a program that simulates pays before its first buffer. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { QUICK, type Sample } from '../measure.ts';
import type { Row } from '../row.ts';

const ROUNDS = QUICK ? 5 : 41;
const FIRST_ALLOC = fileURLToPath(new URL('../first-alloc.js', import.meta.url));
const NOTHING = fileURLToPath(new URL('../nothing.js', import.meta.url));

/** Nanoseconds from the start of a process to its end. */
function lifetime(program: string): number {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, [program], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${program} ended with status ${status}`);
  return (performance.now() - start) * 1e6;
}

export const startupRows: readonly Row[] = [
  {
    name: 'startup: simulated device, first buffer',
    targets: [{ added: 25e6 }],
    run() {
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        ours.push(lifetime(FIRST_ALLOC));
        theirs.push(lifetime(NOTHING));
      }
      const sample = (label: string, rounds: number[]): Sample => ({ label, rounds });
      return { ours: sample('node with userdma', ours), theirs: sample('node with an empty module', theirs) };
    },
  },
];
