/** The loops in C (comparators.cc, wakeups.cc). */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';

/** Runs `count` rounds; nanoseconds they took. */
export type Timed = (count: number) => number;

/**
 * Signals: how many, and microseconds between two. With the descriptor of a VFIO device and a kind of interrupt the kernel
 * sends them, by VFIO_DEVICE_SET_IRQS; else a write to the eventfd does.
 */
export type Source = readonly [count: number, pause: number, device?: number, kind?: number];

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
  /**
   * Another thread signals the eventfd. The result waits for its end: the times, as of process.hrtime.
   * @param fd of an eventfd; not used where VFIO signals
   */
  signals(fd: number, ...source: Source): () => Float64Array;
  /** Nanoseconds from each signal to a thread in C that waits in read(). */
  wakeups(...source: Source): Float64Array;
  /** The same to a callback of libuv, in a loop without anything else. */
  loopWakeups(...source: Source): Float64Array;
  /**
   * The calling thread and its new threads stay on one processor.
   * @param awake another thread, which gives way to every other, keeps that processor from sleeping
   */
  keepTo(awake: boolean): void;
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
