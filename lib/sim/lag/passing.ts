/**
 * Time passes in the calls of the driver that take memory away from a lagging device: what the device still does to it
 * happens then, and not only after the driver has stopped it.
 */
import type { DeviceParts } from '../../dma/parts.ts';
import type { MemoryLooks } from '../memory-looks.ts';
import type { LaggingModel } from './device.ts';

/**
 * For `DmaDevice`'s `alter`: what takes time is replaced on this one device; its classes stay as they are for all
 * others.
 */
export function passTimeIn(parts: DeviceParts, lagging: LaggingModel): DeviceParts {
  const unmapped = (): void => lagging.pause(false);
  const freed = (): void => lagging.pause(true);
  // A list is unmapped piece by piece: the device may act once it is whole.
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

/** A driver that polls memory by syncs lets time pass, too: a microsecond for each. */
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

/** Call `action` after each call of the method `name`, also after one that throws. */
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
