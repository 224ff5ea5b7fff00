/** Opening a function: by address on real hardware, or from a source such as `simulate(model)`. */

import { argumentError, checkFunction, checkOptions, isCallable } from '../arguments.ts';
import { DmaError, type ErrnoName } from '../errors.ts';
import { PciFunction } from './function.ts';
import { OPEN_CHECKS } from './open-options.ts';
import {
  isDescriptor,
  type OpenedFunction,
  type OpenOptions,
  type PciDescriptor,
  type PciSource,
} from './transport.ts';

/** Options of `openPci`. */
export interface OpenPciOptions extends OpenOptions {
  /**
   * The source to open instead if this machine has no such hardware (ENODEV), or the addon is not built (ENOSYS).
   * It is never used for a device that is present but busy, bound to another driver, or not permitted.
   */
  readonly fallback?: () => PciSource;
}

const NO_HARDWARE: readonly ErrnoName[] = ['ENODEV', 'ENOSYS'];

/**
 * Open a function for a driver. At first bus mastering is off, memory decode is on, no interrupt is armed, and
 * masks are 32-bit.
 *
 * @param target the address of a function that is bound to vfio-pci, `domain:bus:device.function`, e.g.
 *   `0000:00:10.0`; or its open node; or a source
 * @throws DmaError EINVAL malformed address, options · ENODEV absent, IOMMU off or VFIO missing · EBUSY bound to
 *   another driver or in use · EAGAIN being reset or taken away · EPERM group not viable · EACCES no permission ·
 *   ENOSYS addon not built
 */
export async function openPci(
  target: string | PciDescriptor | PciSource,
  options: OpenPciOptions = {},
): Promise<PciFunction> {
  checkOptions<OpenPciOptions>(options, 'openPci', { ...OPEN_CHECKS, fallback: checkFunction });
  const { fallback, ...rest } = options;
  if (typeof target !== 'string' && !isDescriptor(target)) {
    checkSource(target);
    return track(target, rest);
  }
  try {
    // The module is loaded on demand, so that a program that only simulates never loads the addon.
    const { openVfio } = await import('./vfio/open.ts');
    return track({ open: (wanted) => openVfio(target, wanted) }, rest);
  } catch (error) {
    const absent = error instanceof DmaError && NO_HARDWARE.includes(error.code);
    if (fallback === undefined || !absent) throw error;
    const source = fallback();
    checkSource(source);
    return track(source, rest);
  }
}

function checkSource(source: unknown): void {
  const { open, attach } = (source ?? {}) as { readonly open?: unknown; readonly attach?: unknown };
  if (isCallable(open)) return;
  const isModel = typeof attach === 'function' || typeof source === 'function';
  const remedy = isModel
    ? 'simulate(...) is missing around the model: openPci(simulate(model))'
    : 'pass a PCI address, e.g. 0000:00:10.0, or the result of simulate(...)';
  throw argumentError('the target of openPci', source, remedy);
}

const opened = new Set<PciFunction>();
const observers = new Set<(fn: PciFunction) => void>();

/** Call `observer` with every function opened from now on; returns a function that stops it. */
export function observeOpened(observer: (fn: PciFunction) => void): () => void {
  observers.add(observer);
  return () => void observers.delete(observer);
}

function track(source: PciSource, options: OpenOptions): PciFunction {
  const parts = source.open(options);
  if (parts?.dma === undefined || parts.transport === undefined) {
    throw argumentError('what the source opened', parts, 'return { dma, transport } from open');
  }
  const fn = hold(parts, options);
  if (opened.size === 0) process.on('exit', closeAll);
  opened.add(fn);
  for (const observe of observers) observe(fn);
  return fn;
}

function hold(parts: OpenedFunction, { releaseGrace }: OpenOptions): PciFunction {
  try {
    return new PciFunction(parts, untrack, releaseGrace);
  } catch (error) {
    // The function has done nothing yet: bus mastering is off.
    parts.dma.close();
    parts.transport.close();
    throw error;
  }
}

function untrack(fn: PciFunction): void {
  opened.delete(fn);
  if (opened.size === 0) process.off('exit', closeAll);
}

/** `process.exit()` runs no native hook, so this function stops every device that is still open. */
function closeAll(): void {
  for (const fn of [...opened]) {
    try {
      fn.close();
    } catch {
      // The process is ending, and the kernel will finish the job. The next function still has to be closed.
    }
  }
}
