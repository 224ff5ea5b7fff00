/** The memory of a simulated machine: the CPU's side, the IOMMU or the bus in front of it, and the device's cache. */

import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { FAULT, type FaultLog } from '../iommu/fault.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import { observeLooks } from '../looks.ts';
import type { HeapMemory } from '../memory/heap.ts';
import { checkPageSize } from '../page-size.ts';
import { SimulatedCache } from './cache.ts';
import { type MachineParts, PLAIN_MACHINE } from './machine-parts.ts';
import { MemoryLooks } from './memory-looks.ts';
import type { SimulateOptions } from './options.ts';
import { PC_MEMORY } from './physical-memory.ts';

/** The memory of a machine, and the parts through which the device sees it. */
export interface MachineMemory {
  readonly memory: HeapMemory;
  readonly space: SimulatedAddressSpace;
  readonly cache: SimulatedCache | undefined;
  readonly looks: MemoryLooks;
}

/** Makes the memory of a machine. @throws DmaError EINVAL page size, page offset, ranges or memory limit */
export function machineMemory(
  options: SimulateOptions,
  parts: MachineParts,
  faults: FaultLog,
): MachineMemory {
  const { iommu = true, coherent = true, pageSize = 4096, foreignPageOffset = 16 } = options;
  checkPageSize(pageSize);
  checkPageOffset(foreignPageOffset, pageSize);
  const { lineSize, memoryLimit, ranges, mappingLimit, pinsForeignMemory } = options;
  const memory = parts.memory({ pageSize, ...(memoryLimit !== undefined && { limit: memoryLimit }) });
  const coherenceOf = (buffer: ArrayBufferLike) => memory.coherenceOf(buffer);
  const pageOffset = (buffer: ArrayBufferLike) => (coherenceOf(buffer) === undefined ? foreignPageOffset : 0);
  const cache = coherent
    ? undefined
    : new SimulatedCache({ coherenceOf, pageOffset, ...(lineSize !== undefined && { lineSize }) });
  // Without an IOMMU there are no mappings that an injector could make fail.
  const { addressSpace } = iommu ? parts : PLAIN_MACHINE;
  const space = addressSpace({
    pageSize,
    faults,
    pageOffset,
    ...(cache !== undefined && {
      deviceView: (buffer, offset, size) => cache.deviceView(buffer, offset, size),
    }),
    ...(ranges !== undefined && { ranges }),
    ...(mappingLimit !== undefined && { mappingLimit }),
    ...(pinsForeignMemory !== undefined && { pinsForeignMemory }),
    ...(!iommu && { ranges: ranges ?? PC_MEMORY, mappingLimit: Infinity, nothingThere: FAULT.noMemory }),
  });
  const looks = new MemoryLooks();
  const allocate = memory.allocate.bind(memory);
  memory.allocate = (size, coherence) => {
    const buffer = allocate(size, coherence);
    observeLooks(buffer, looks.look);
    return buffer;
  };
  return { memory, space, cache, looks };
}

function checkPageOffset(offset: number, pageSize: number): void {
  if (Number.isInteger(offset) && offset >= 0 && offset < pageSize) return;
  throw new DmaError('EINVAL', `the page offset of foreign memory is ${describe(offset)}`, {
    remedy: `pass a whole number from 0 to ${pageSize - 1}`,
  });
}
