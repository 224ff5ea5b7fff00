/**
 * A hot reset through VFIO resets the bus or slot of a function. The kernel demands that the program holds every
 * function on it, or the groups of those functions (vfio_pci_core.c, vfio_pci_dev_set_hot_reset).
 */
import { DmaError, errnoName } from '../../errors.ts';
import type { Handle } from '../../native/addon.ts';
import type { VfioFunctions } from '../../native/vfio.ts';
import { formatAddress } from '../address.ts';
import { driverOf, isVfioDriver } from '../facts.ts';

type Native = Pick<VfioFunctions, 'vfioHotResetInfo' | 'vfioHotReset'>;

interface Affected {
  readonly address: string;
  /** The number of its group, or of the device in its domain. It depends on how the function was opened. */
  readonly id: number;
}

/**
 * The addresses of all functions that a hot reset of `device`, at `address`, resets.
 * @param elsewhere tells where a function is that this program does not hold
 * @throws DmaError EOPNOTSUPP its bus cannot be reset · EPERM it would hit functions that this process does not
 *   hold
 */
export function hotResetScope(
  native: Native,
  device: Handle,
  address: string,
  elsewhere: (id: number) => string | undefined,
): string[] {
  const affected = affectedBy(native, device, address);
  const foreign = affected.flatMap((one) => {
    const where = elsewhere(one.id);
    return where === undefined ? [] : [`${one.address} (${where})`];
  });
  if (foreign.length > 0) throw notOurs(address, foreign);
  return affected.map((one) => one.address);
}

/**
 * Resets them.
 * @throws DmaError EAGAIN busy, and nothing was reset · EPERM some of them are not VFIO's · EIO they may have
 *   been reset
 */
export function hotReset(native: Native, device: Handle, address: string, scope: readonly string[]): void {
  const result = native.vfioHotReset(device);
  if (result < 0) throw notReset(address, scope, result);
}

function affectedBy(native: Native, device: Handle, address: string): Affected[] {
  const info = native.vfioHotResetInfo(device);
  if (typeof info !== 'number') {
    return Array.from({ length: info.length / 4 }, (_, index) => {
      const [id, segment, bus, devfn] = info.slice(4 * index) as [number, number, number, number];
      return { id, address: formatAddress(segment, bus, devfn) };
    });
  }
  const code = errnoName(info);
  if (code === 'ENODEV' || code === 'ENOTTY') {
    throw new DmaError('EOPNOTSUPP', `${address} is on a bus that cannot be reset`, {
      syscall: 'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO',
      remedy: 'a root bus cannot; reset the function alone, or through registers of the device',
    });
  }
  throw new DmaError(
    code,
    `the functions that a hot reset of ${address} would reset are not known (${code})`,
    {
      syscall: 'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO',
      remedy: 'nothing was reset: try again',
    },
  );
}

function notOurs(address: string, foreign: readonly string[]): DmaError {
  return new DmaError('EPERM', `a hot reset of ${address} would reset ${foreign.join(', ')} too`, {
    remedy: 'open those here as well, or reset the function alone',
  });
}

function notReset(address: string, scope: readonly string[], errno: number): DmaError {
  const code = errnoName(errno);
  const syscall = 'VFIO_DEVICE_PCI_HOT_RESET';
  if (code === 'EAGAIN' || code === 'EBUSY') {
    return new DmaError('EAGAIN', `${address} was not reset`, {
      syscall,
      remedy: 'a function on its bus is busy: try again',
    });
  }
  if (code !== 'EINVAL') {
    // -ENOTTY: the kernel reset the bus, but the link or a function was not back when the kernel looked.
    return new DmaError('EIO', `the hot reset of ${address} failed (${code})`, {
      syscall,
      remedy:
        'the function may have been reset nevertheless: start it again; the kernel log (dmesg) may say why',
    });
  }
  const others = scope.filter((one) => !isVfioDriver(driverOf(one)));
  const named = others.map((one) => `${one} (${driverOf(one) ?? 'no driver'})`).join(', ');
  return new DmaError(
    'EPERM',
    `a hot reset of ${address} would reset functions that are not bound to vfio-pci: ${named}`,
    {
      syscall,
      remedy: 'bind them to vfio-pci',
    },
  );
}
