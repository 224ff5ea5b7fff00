/** The loops in C (comparators.cc). */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';

/** Runs `count` rounds; nanoseconds they took. */
export type Timed = (count: number) => number;

export interface Comparators {
  mallocPair(size: number): Timed;
  zeroedPair(size: number): Timed;
  mallocBurst(size: number, blocks: number): Timed;
  mallocChurn(live: number, size: number): Timed;
  copy(size: number, sources: number, targets: number): Timed;
  /** @param from @param to bytes from one element to the next */
  copyList(size: number, elements: number, from: number, to: number): Timed;
  lookup(regions: number, touched: number): Timed;
  walkHoles(holes: number): Timed;
  mmapPair(size: number): Timed;
  /** @param batch packets a round @param driven whether anybody forwards them; else the NIC is alone */
  forward(batch: number, driven: boolean): Timed;
  /** @param registers written in turn, each time by one volatile store of 32 bits */
  store(registers: number): Timed;
  /** Another thread signals the eventfd so often. The result waits for its end: the times, as of process.hrtime. */
  signals(fd: number, count: number): () => Float64Array;
  /** Nanoseconds from each of so many signals to a thread in C that waits in read(). */
  wakeups(count: number): Float64Array;
  /** @throws Error the kernel refused */
  vfioPair(fd: number, iova: number, size: number): Timed;
}

let loaded: Comparators | undefined;

/** @throws Error they are not built */
export function comparators(): Comparators {
  loaded ??= load();
  return loaded;
}

function load(): Comparators {
  const path = join(packageRoot(), 'build', 'Release', 'bench_comparators.node');
  try {
    return createRequire(import.meta.url)(path) as Comparators;
  } catch (cause) {
    throw new Error('the loops in C are not built: `npm run build` with a C++17 compiler, on Linux', {
      cause,
    });
  }
}
