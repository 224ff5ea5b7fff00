/** What a loop does to the heap. Needs `--expose-gc`, which the bench gives to the processes of its rows. */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';

/** Collects everything that can be collected. */
export async function settle(): Promise<void> {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error('run with --expose-gc');
  for (let i = 0; i < 3; i++) {
    gc();
    // Memory goes back to the system, and observers are told, from the event loop.
    await setTimeout(50);
  }
}

export interface HeapUse {
  readonly minorCollections: number;
  /** Bytes of the heap that are in use afterwards and were not before. */
  readonly growth: number;
}

/** Runs `work` and counts; the first run of it warms up and counts nothing. */
export async function heapUseOf(warmUp: () => void, work: () => void): Promise<HeapUse> {
  let minorCollections = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries()) {
      const { kind } = detail as { readonly kind: number };
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) minorCollections++;
    }
  });
  warmUp();
  await settle();
  observer.observe({ entryTypes: ['gc'] });
  const before = process.memoryUsage().heapUsed;
  work();
  await setTimeout(100);
  observer.disconnect();
  await settle();
  return { minorCollections, growth: process.memoryUsage().heapUsed - before };
}
