/** What the system holds for this process: the same before and after means that nothing was left behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ownDescriptors } from './devices.ts';

export interface Holdings {
  /** What its descriptors of VFIO, memory and eventfds lead to. */
  readonly descriptors: readonly string[];
  /** All it has. */
  readonly allDescriptors: number;
  /** Bytes that the IOMMU has pinned, and other locked memory. */
  readonly locked: number;
  /** Interrupt vectors of VFIO in the system. */
  readonly vectors: number;
}

export function holdings(): Holdings {
  const interrupts = readFileSync('/proc/interrupts', 'utf8').split('\n');
  return {
    descriptors: ownDescriptors()
      .map(({ target }) => target)
      .sort(),
    allDescriptors: readdirSync('/proc/self/fd').length,
    locked: memory('VmLck') + memory('VmPin'),
    vectors: interrupts.filter((line) => line.includes('vfio')).length,
  };
}

setFlagsFromString('--expose-gc');
/** Without it the process grows by what nobody uses: V8 does not know what a function costs outside its heap. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes of memory that the process occupies, garbage apart. */
export async function resident(): Promise<number> {
  // What is freed by finalizers is freed in a later turn, and counted at the collection after that.
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await sleep(20);
  }
  return memory('VmRSS');
}

function memory(name: string): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return 1024 * Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
}
