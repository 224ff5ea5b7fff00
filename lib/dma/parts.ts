/**
 * The parts of a device. A device that is opened with dma-debug has the parts of lib/debug in their place, so that a
 * device without it runs no code of dma-debug.
 */
import { type AllocatingDevice, Allocations } from './buffers/allocations.ts';
import type { PoolOptions } from './pool/layout.ts';
import { PoisonedPool } from './pool/poisoned.ts';
import { DmaPool, type PoolOwner } from './pool/pool.ts';
import { ScatterGather, type SgContext } from './sg/scatter-gather.ts';
import { type ResourceDevice, ResourceMappings } from './streaming/resource.ts';
import { Streaming, type StreamingDevice, type StreamingOptions } from './streaming/streaming.ts';

export interface DeviceParts {
  allocations(device: AllocatingDevice): Allocations;
  streaming(device: StreamingDevice, limit: number, options: StreamingOptions): Streaming;
  lists(context: SgContext): ScatterGather;
  resources(device: ResourceDevice): ResourceMappings;
  pool(name: string, options: PoolOptions, owner: PoolOwner): DmaPool;
}

export const PLAIN_PARTS: DeviceParts = {
  allocations: (device) => new Allocations(device),
  streaming: (device, limit, options) => new Streaming(device, limit, options),
  lists: (context) => new ScatterGather(context),
  resources: (device) => new ResourceMappings(device),
  pool: (name, options, owner) =>
    new (options.poison === true ? PoisonedPool : DmaPool)(name, options, owner),
};
