/** How many dma-bufs and descriptors there are. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

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
