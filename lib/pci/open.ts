/** Opening a function: by address on real hardware, or from a source such as `simulate(model)`. */
import { DmaError, type ErrnoName } from '../errors.ts';
import { PciFunction } from './function.ts';
import { checkGrace } from './presence.ts';
import {
  isDescriptor,
  type OpenedFunction,
  type OpenOptions,
  type PciDescriptor,
  type PciSource,
} from './transport.ts';

export interface OpenPciOptions extends OpenOptions {
  /**
   * The source to open instead where there is no such hardware (ENODEV, or ENOSYS: addon not built). Never used for
   * a device that is there but busy, bound elsewhere or not permitted.
   */
  readonly fallback?: () => PciSource;
}

const NO_HARDWARE: readonly ErrnoName[] = ['ENODEV', 'ENOSYS'];

/**
 * Open a function for a driver. Bus mastering is off, memory decode is on, no interrupt is armed, masks are 32-bit.
 *
 * @param target `domain:bus:device.function`, e.g. `0000:00:10.0`, of a function bound to vfio-pci; or its open node; or
 *   a source
 * @throws DmaError EINVAL malformed address, options · ENODEV absent, IOMMU off or VFIO missing · EBUSY bound to
 *   another driver or in use · EAGAIN being reset or taken away · EPERM group not viable · EACCES no permission ·
 *   ENOSYS addon not built
 */
export async function openPci(
  target: string | PciDescriptor | PciSource,
  options: OpenPciOptions = {},
): Promise<PciFunction> {
  const { fallback, ...rest } = options;
  checkGrace(rest.releaseGrace);
  if (typeof target !== 'string' && !isDescriptor(target)) return track(target, rest);
  try {
    // Loaded on demand: a program that only simulates never touches the addon.
    const { openVfio } = await import('./vfio/open.ts');
    return track({ open: (wanted) => openVfio(target, wanted) }, rest);
  } catch (error) {
    const absent = error instanceof DmaError && NO_HARDWARE.includes(error.code);
    if (fallback === undefined || !absent) throw error;
    return track(fallback(), rest);
  }
}

const opened = new Set<PciFunction>();
const observers = new Set<(fn: PciFunction) => void>();

/** Call `observer` with every function opened from now on; returns a function that stops it. */
export function observeOpened(observer: (fn: PciFunction) => void): () => void {
  observers.add(observer);
  return () => void observers.delete(observer);
}

function track(source: PciSource, options: OpenOptions): PciFunction {
  const fn = hold(source.open(options), options);
  if (opened.size === 0) process.on('exit', closeAll);
  opened.add(fn);
  for (const observe of observers) observe(fn);
  return fn;
}

function hold(parts: OpenedFunction, { releaseGrace }: OpenOptions): PciFunction {
  try {
    return new PciFunction(parts, untrack, releaseGrace);
  } catch (error) {
    // It has done nothing yet: bus mastering is off.
    parts.dma.close();
    parts.transport.close();
    throw error;
  }
}

function untrack(fn: PciFunction): void {
  opened.delete(fn);
  if (opened.size === 0) process.off('exit', closeAll);
}

/** `process.exit()` runs no native hook: whatever is still open is stopped here. */
function closeAll(): void {
  for (const fn of [...opened]) {
    try {
      fn.close();
    } catch {
      // The process is ending and the kernel will finish the job; the next function still wants its turn.
    }
  }
}
