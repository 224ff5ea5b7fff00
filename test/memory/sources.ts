/**
 * The memory sources as data, and what each can do. Those of the kernel need the addon, and some a kernel that has
 * them: the virtual machine's does.
 */
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemfdMemory, openUDmaBuf, PhysicalHugepages } from '../../lib/index.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { DmaHeapMemory } from '../../lib/memory/dma-heap.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import type { MemorySource } from '../../lib/memory/source.ts';
import { PC_MEMORY, SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';
import { plant } from '../conformance/u-dma-buf-fixture.ts';
import { whyNoAddon } from '../native/support.ts';

export interface SourceCase {
  readonly name: string;
  /** Why it cannot be tested here. */
  readonly unavailable?: string | undefined;
  /** Whose memory it is. */
  readonly kind: 'JavaScript' | 'u-dma-buf' | 'memfd' | 'dma-heap' | 'physical';
  open(): MemorySource;
}

/** Huge pages that the guest sets aside for these tests. */
const RESERVED = 16;
const RESERVE = '/proc/sys/vm/nr_hugepages';

/** In the virtual machine they are reserved first; elsewhere nothing of the system is changed. */
function hugePagesMissing(): string | undefined {
  if (process.env.USERDMA_VM !== undefined) writeFileSync(RESERVE, String(RESERVED));
  const free = /HugePages_Free:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return Number(free) >= RESERVED ? undefined : `fewer than ${RESERVED} huge pages are free`;
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Gives back what the sources took of the system. */
export function cleanUp(): void {
  for (const root of roots) rmSync(root, { recursive: true });
  if (process.env.USERDMA_VM !== undefined) writeFileSync(RESERVE, '0');
}

export const hasUdmabuf = mayOpen('/dev/udmabuf');

function physical(): MemorySource {
  const addressSpace = new SimulatedAddressSpace({ ranges: PC_MEMORY });
  return new SimulatedPhysicalMemory({ heap: new HeapMemory(), addressSpace });
}

const roots: string[] = [];

function uDmaBuf(): MemorySource {
  const root = mkdtempSync(join(tmpdir(), 'userdma-memory-'));
  roots.push(root);
  plant(root, 'udmabuf0', { size: String(8 * 2 ** 20) });
  return openUDmaBuf('udmabuf0', { root });
}

/** Needs neither addon nor kernel. */
export const simulated: readonly SourceCase[] = [
  { name: 'heap', kind: 'JavaScript', open: () => new HeapMemory() },
  { name: 'physical, simulated', kind: 'JavaScript', open: physical },
];

/** Its module is in no kernel: files stand in for it, and it can be tested wherever the addon is. */
export const fixtures: readonly SourceCase[] = [
  { name: 'u-dma-buf, on files', kind: 'u-dma-buf', unavailable: whyNoAddon, open: uDmaBuf },
];

/** Of the system this runs on. */
export const native: readonly SourceCase[] = [
  { name: 'memfd', kind: 'memfd', unavailable: whyNoAddon, open: () => new MemfdMemory() },
  {
    name: 'hugetlb',
    kind: 'memfd',
    unavailable: whyNoAddon ?? hugePagesMissing(),
    open: () => new MemfdMemory({ hugepages: true }),
  },
  {
    name: 'physical huge pages',
    kind: 'physical',
    unavailable: whyNoAddon ?? hugePagesMissing() ?? (process.getuid?.() === 0 ? undefined : 'it takes root'),
    open: () => new PhysicalHugepages(),
  },
  {
    name: 'dma-heap',
    kind: 'dma-heap',
    unavailable:
      whyNoAddon ??
      (mayOpen('/dev/dma_heap/system') ? undefined : 'no dma-heap here that this user may open'),
    open: () => new DmaHeapMemory(),
  },
];
