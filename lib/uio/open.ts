/** Opening a platform device through UIO, together with memory that the device reaches. */

import { closeSync } from 'node:fs';
import { argumentError, checkOptions, checkText } from '../arguments.ts';
import { createHardwareDevice } from '../debug/create.ts';
import { checkDebug, type DebugOptions } from '../debug/options.ts';
import type { DirectDeviceOptions } from '../dma/device.ts';
import { loadAddon } from '../native/load.ts';
import { openUioNode } from './node.ts';
import { PlatformDevice } from './platform-device.ts';
import { findUio } from './sysfs.ts';

/** Options of `openUio`. */
export interface OpenUioOptions {
  /**
   * Memory that the device reaches by the memory's own device addresses, e.g. u-dma-buf, and `cache` if CPU and
   * device do not see each other's writes. The device owns the memory from then on, unless opening fails.
   */
  readonly dma?: Omit<DirectDeviceOptions, 'name' | 'addressSpace'>;
  /** Watch the driver's DMA calls and report its mistakes (dma-debug). Default: false, unless USERDMA_DEBUG=1. */
  readonly debug?: boolean | DebugOptions;
  /** Prefix of `/sys` and `/dev`, for a recorded tree. */
  readonly root?: string;
}

/** The constructor of the device checks the values that depend on the memory. */
function checkDma(dma: unknown, what: string): void {
  if (typeof dma !== 'object' || dma === null) throw argumentError(what, dma, 'pass { memory }');
}

/**
 * Open a UIO device for a driver. No interrupt is armed at first.
 *
 * @param target its node, e.g. `uio0`, or its name (/sys/class/uio/uioN/name)
 * @throws DmaError ENODEV it does not exist, or its node is missing · EINVAL several have this name · EACCES no
 *   permission · EIO /sys makes no sense · ENOSYS addon not built
 */
export function openUio(target: string, options: OpenUioOptions = {}): PlatformDevice {
  checkText(target, 'the name of a UIO device');
  checkOptions<OpenUioOptions>(options, 'openUio', { dma: checkDma, debug: checkDebug, root: checkText });
  const { dma, debug, root = '' } = options;
  const native = loadAddon();
  const facts = findUio(target, root);
  const fd = openUioNode(facts.node, root);
  try {
    const name = facts.name === '' ? facts.node : `${facts.node} (${facts.name})`;
    const device =
      dma === undefined
        ? undefined
        : createHardwareDevice({ copyMany: native.copyBatch, ...dma, name }, debug);
    return new PlatformDevice({ native, facts, fd, dma: device, root });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
