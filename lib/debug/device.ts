/** A device whose parts report their calls to dma-debug. In all other respects it is a normal device. */
import { DmaDevice, type DmaDeviceOptions } from '../dma/device.ts';
import type { DeviceParts } from '../dma/parts.ts';
import { DebugAllocations } from './allocations.ts';
import { DmaDebug, type Observers } from './debug.ts';
import type { DebugOptions } from './options.ts';
import { debugPool } from './pools.ts';
import { DebugResources } from './resources.ts';
import { DebugScatterGather } from './scatter-gather.ts';
import { DebugStreaming } from './streaming.ts';
import type { WatchedMemory } from './watch.ts';

/** Makes the observers of a device. The device has its memory by then. */
export type Observe = (device: DebugDmaDevice) => Observers;

/** A device with dma-debug. */
export class DebugDmaDevice extends DmaDevice {
  /** The memory that the watch of this device looks at. */
  readonly memory: WatchedMemory;
  readonly #debug: DmaDebug;
  #closed = false;

  /** @param observe default: no contents of memory are watched, and no faults are read */
  constructor(options: DmaDeviceOptions, debugOptions: DebugOptions = {}, observe: Observe = () => ({})) {
    const debug = new DmaDebug(options.name, debugOptions);
    super(options, debugParts(debug));
    this.#debug = debug;
    const { own, cache } = this;
    this.memory = { own, cache, bounce: this.streaming.bounce };
    debug.begin(observe(this));
  }

  override get debug(): DmaDebug {
    return this.#debug;
  }

  override close(): void {
    if (!this.#closed) {
      this.#closed = true;
      this.debug.checkFaults();
      this.debug.attribution?.close();
      this.debug.reportPending();
      this.debug.watch?.close((this.streaming as DebugStreaming).records);
    }
    super.close();
  }
}

function debugParts(debug: DmaDebug): DeviceParts {
  return {
    allocations: (device) => new DebugAllocations(debug, device),
    streaming: (device, limit, options) => new DebugStreaming(debug, device, limit, options),
    lists: (context) => new DebugScatterGather(debug, context),
    resources: (device) => new DebugResources(debug, device),
    pool(name, options, owner) {
      const pool = debugPool(debug, name, options, owner);
      debug.pools.add(pool);
      return pool;
    },
  };
}
