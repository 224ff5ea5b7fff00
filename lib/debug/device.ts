/** A device whose parts tell dma-debug what they do. In everything else it is a device like any other. */
import { DmaDevice, type DmaDeviceOptions } from '../dma/device.ts';
import type { DeviceParts } from '../dma/parts.ts';
import { DebugAllocations } from './allocations.ts';
import { DmaDebug } from './debug.ts';
import type { DebugOptions } from './options.ts';
import { debugPool } from './pools.ts';
import { DebugResources } from './resources.ts';
import { DebugScatterGather } from './scatter-gather.ts';
import { DebugStreaming } from './streaming.ts';
import type { WatchedMemory } from './watch.ts';

/** A device under dma-debug. */
export class DebugDmaDevice extends DmaDevice {
  /** For the watch of this device. */
  readonly memory: WatchedMemory;
  readonly #debug: DmaDebug;
  #closed = false;

  constructor(options: DmaDeviceOptions, debugOptions: DebugOptions = {}) {
    const debug = new DmaDebug(options.name, debugOptions);
    super(options, debugParts(debug));
    this.#debug = debug;
    const { own, cache } = this;
    this.memory = { own, cache, bounce: this.streaming.bounce };
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
      this.debug.watch?.close();
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
