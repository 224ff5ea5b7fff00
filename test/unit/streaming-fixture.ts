/** A device on the simulation with its address space in reach, so that a test can be the device. */
import { expect } from 'vitest';
import { DmaDevice, type DmaDeviceOptions } from '../../lib/dma/device.ts';
import { SimulatedAddressSpace, type SimulatedAddressSpaceOptions } from '../../lib/iommu/simulated.ts';
import { HeapMemory, type HeapMemoryOptions } from '../../lib/memory/heap.ts';

export const PAGE = 4096;

export interface World {
  readonly dma: DmaDevice;
  readonly space: SimulatedAddressSpace;
  readonly memory: HeapMemory;
  /** Bytes as the device reads them. */
  deviceReads(address: bigint, size: number): Uint8Array;
}

export function world(
  options: Partial<DmaDeviceOptions> = {},
  spaceOptions: SimulatedAddressSpaceOptions = {},
  memoryOptions: HeapMemoryOptions = {},
  /** Where in its page the first byte of a foreign buffer lies. */
  foreignOffset = 0,
): World {
  const memory = new HeapMemory(memoryOptions);
  const pageOffset = (buffer: ArrayBufferLike) =>
    memory.coherenceOf(buffer) === undefined ? foreignOffset : 0;
  const space = new SimulatedAddressSpace({ pageOffset, ...spaceOptions });
  const dma = new DmaDevice({ name: 'test', ...options, memory, addressSpace: space } as DmaDeviceOptions);
  const deviceReads = (address: bigint, size: number): Uint8Array => {
    const bytes = new Uint8Array(size);
    space.read(address, bytes);
    return bytes;
  };
  return { dma, space, memory, deviceReads };
}

/** Bytes that differ from their neighbours, and from those of another seed; never 0. */
export function pattern(size: number, seed = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, i) => ((i * 7 + seed * 31) % 255) + 1);
}

/**
 * Takes the memory away: every view of it is empty afterwards. A driver must not do this while memory is mapped. A byte
 * stream also takes memory of a simulated device, which a transfer list does not (lib/memory/heap-buffer.ts).
 */
export function detach(buffer: ArrayBufferLike): void {
  const bytes = new Uint8Array(buffer as ArrayBuffer);
  void new ReadableStream({ type: 'bytes', start: (stream) => stream.enqueue(bytes) });
}

/** Equal bytes, or the first that differ; on long arrays far faster than toEqual. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = expected.findIndex((byte, i) => actual[i] !== byte);
  expect([at, ...actual.subarray(at, at + 16)]).toEqual([at, ...expected.subarray(at, at + 16)]);
  expect(actual.length).toBe(expected.length);
}
