/** How many dma-bufs and descriptors there are, and the kernel's heap where it has one. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { DmaHeapMemory } from '../../lib/index.ts';
import { skipWithout } from '../absent.ts';

/** Memory of the heap `system`. Ends the test that calls it where the machine's kernel has no heaps. */
export function heapMemory(): DmaHeapMemory {
  skipWithout('dma-heap');
  return new DmaHeapMemory();
}

/** Targets of the descriptors of this process. */
export function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // that of the listing itself
    }
  });
}

/** dma-bufs that there are in the whole system. */
export function dmaBufs(): number {
  const info = readFileSync('/sys/kernel/debug/dma_buf/bufinfo', 'utf8');
  return Number(/Total (\d+) objects/.exec(info)?.[1]);
}
