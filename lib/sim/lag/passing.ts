/**
 * Time passes in the calls by which the driver takes memory away from a lagging device. So the device's remaining
 * accesses to it happen during the call, and not only after the driver has stopped the device.
 */
import type { DeviceParts } from '../../dma/parts.ts';
import type { MemoryLooks } from '../memory-looks.ts';
import type { LaggingModel } from './device.ts';

/**
 * For `DmaDevice`'s option `alter`. The methods that take time are replaced on this one device only. Its classes stay
 * as they are for all other devices.
 */
export function passTimeIn(parts: DeviceParts, lagging: LaggingModel): DeviceParts {
  const unmapped = (): void => lagging.pause(false);
  const freed = (): void => lagging.pause(true);
  // A list is unmapped piece by piece. The device may act after the whole list is unmapped.
  let inList = false;
  return {
    allocations(device) {
      const allocations = parts.allocations(device);
      follow(allocations, 'releaseBuffer', freed);
      follow(allocations, 'releaseIo', freed);
      follow(allocations, 'releasePieces', freed);
      return allocations;
    },
    streaming(device, limit, options) {
      const streaming = parts.streaming(device, limit, options);
      follow(streaming, 'unmap', () => {
        if (!inList) unmapped();
      });
      return streaming;
    },
    lists(context) {
      const lists = parts.lists(context);
      const unmap = lists.unmapSg.bind(lists);
      lists.unmapSg = (record) => {
        inList = true;
        try {
          unmap(record);
        } finally {
          inList = false;
          unmapped();
        }
      };
      return lists;
    },
    resources(device) {
      const resources = parts.resources(device);
      follow(resources, 'unmap', unmapped);
      return resources;
    },
    pool(name, options, owner) {
      const pool = parts.pool(name, options, owner);
      follow(pool, 'free', unmapped);
      follow(pool, 'destroy', freed);
      return pool;
    },
  };
}

/** A driver that polls memory by syncs lets time pass, too: one microsecond for each sync. */
export function passTimeInSyncs(parts: DeviceParts, looks: MemoryLooks): DeviceParts {
  return {
    ...parts,
    allocations(device) {
      const allocations = parts.allocations(device);
      precede(allocations, 'syncBufferForCpu', () => looks.pass());
      precede(allocations, 'syncPieceForCpu', () => looks.pass());
      return allocations;
    },
    streaming(device, limit, options) {
      const streaming = parts.streaming(device, limit, options);
      precede(streaming, 'syncForCpu', () => looks.pass());
      return streaming;
    },
  };
}

/** Call `action` before each call of the method `name`. */
function precede<Name extends string>(
  object: Readonly<Record<Name, (...values: never[]) => void>>,
  name: Name,
  action: () => void,
): void {
  const method: (...values: never[]) => void = object[name].bind(object);
  (object as Record<Name, typeof method>)[name] = (...values) => {
    action();
    method(...values);
  };
}

/** Call `action` after each call of the method `name`, also if it throws. */
function follow<Name extends string>(
  object: Readonly<Record<Name, (...values: never[]) => void>>,
  name: Name,
  action: () => void,
): void {
  const method: (...values: never[]) => void = object[name].bind(object);
  (object as Record<Name, typeof method>)[name] = (...values) => {
    try {
      method(...values);
    } finally {
      action();
    }
  };
}
