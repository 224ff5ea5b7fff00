/** What the system holds for this process: the same before and after means that nothing was left behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { assert } from '../harness.ts';
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

/** Bytes that the process uses, garbage apart. */
export interface MemoryUse {
  /** Of its objects and their buffers: exact. */
  readonly objects: number;
  /** All it occupies: with what allocators keep for later, and code that was compiled meanwhile. */
  readonly resident: number;
}

export async function memoryUse(): Promise<MemoryUse> {
  // What is freed by finalizers is freed in a later turn, and counted at the collection after that.
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await sleep(20);
  }
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  return { objects: heapUsed + arrayBuffers, resident: rss };
}

/** Asserts that the process uses no more than it did `before`, except for what is made and compiled once. */
export async function assertNoGrowth(before: MemoryUse): Promise<void> {
  const now = await memoryUse();
  const objects = now.objects - before.objects;
  const resident = now.resident - before.resident;
  console.log(`  grown by ${kibibytes(objects)} of objects, ${kibibytes(resident)} in all`);
  assert.ok(objects < 2 * MIB, `objects grew by ${objects} bytes`);
  assert.ok(resident < 24 * MIB, `the process grew by ${resident} bytes`);
}

const MIB = 2 ** 20;

function kibibytes(bytes: number): string {
  return `${Math.round(bytes / 1024)} KiB`;
}

function memory(name: string): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return 1024 * Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
}
