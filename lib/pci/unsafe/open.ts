/** Using a PCI function around the kernel: no VFIO, no IOMMU, no protection. */

import { argumentError, checkOptions, checkText } from '../../arguments.ts';
import { type CacheMaintenance, checkCache } from '../../cache.ts';
import { createHardwareDevice } from '../../debug/create.ts';
import type { DirectDeviceOptions } from '../../dma/device.ts';
import { type AddressedMemory, checkAddressedMemory } from '../../memory/addressed.ts';
import { loadAddon } from '../../native/load.ts';
import { parseAddress } from '../address.ts';
import { readFacts } from '../facts.ts';
import type { PciFunction } from '../function.ts';
import { openPci } from '../open.ts';
import { OPEN_CHECKS } from '../open-options.ts';
import type { OpenedFunction, OpenOptions } from '../transport.ts';
import { openNoIommu } from './noiommu.ts';
import { obstacle } from './obstacles.ts';
import { SysfsTransport } from './transport.ts';

/** Options of `openPciUnsafe`. */
export interface OpenPciUnsafeOptions {
  /**
   * Memory whose device addresses are physical addresses: u-dma-buf, or `PhysicalHugepages`. The function owns it
   * from then on, unless opening fails.
   */
  readonly memory: AddressedMemory;
  /** How CPU and device are made to agree if the device does not see the CPU's caches. */
  readonly cache?: CacheMaintenance;
  readonly streaming?: OpenOptions['streaming'];
  readonly debug?: OpenOptions['debug'];
  /** Prefix of `/sys` and `/dev`, for a recorded tree. */
  readonly root?: string;
}

const MEMORY = 'pass { memory }, e.g. of openUDmaBuf or new PhysicalHugepages()';

/**
 * UNSAFE: open a PCI function without an IOMMU. Nothing stands between the device and the memory of this machine.
 * One wrong address in a register, one stale descriptor, or one length that is too long is enough: the device
 * then reads or overwrites the kernel, other programs, or the disk cache. It needs root. If the process is killed
 * during a transfer, the device keeps writing to memory that other programs own by then. Use `openPci` (VFIO)
 * wherever there is an IOMMU. This function is for boards without one, and for devices that are trusted with
 * everything.
 *
 * At first bus mastering is off, memory decode is on, no interrupt is armed, and masks are 32-bit. The driver that
 * the function is bound to decides what else it has:
 *
 * - vfio-pci, where VFIO runs without an IOMMU (`vfio.enable_unsafe_noiommu_mode=1`): all interrupts, all resets, and
 *   notifications, as with `openPci`
 * - uio_pci_generic: INTx
 * - none: no interrupt
 *
 * @param address `domain:bus:device.function`, e.g. `0000:01:00.0`
 * @throws DmaError EINVAL malformed address · ENODEV absent · EBUSY bound to another driver · EPERM behind an
 *   IOMMU that translates · EACCES not root · EIO its files make no sense · ENOSYS addon not built
 */
export async function openPciUnsafe(address: string, options: OpenPciUnsafeOptions): Promise<PciFunction> {
  if (options === undefined) throw argumentError('the options of openPciUnsafe', options, MEMORY);
  checkOptions<OpenPciUnsafeOptions>(options, 'openPciUnsafe', {
    memory: checkAddressedMemory,
    cache: checkCache,
    streaming: OPEN_CHECKS.streaming,
    debug: OPEN_CHECKS.debug,
    root: checkText,
  });
  checkAddressedMemory(options.memory, 'option memory of openPciUnsafe');
  return openPci({ open: () => openUnsafe(parseAddress(address), options) });
}

function openUnsafe(
  address: string,
  { memory, cache, streaming, debug, root = '' }: OpenPciUnsafeOptions,
): OpenedFunction {
  const native = loadAddon();
  const facts = readFacts(address, root);
  const blocked = obstacle(facts, root);
  if (blocked !== undefined) throw blocked;
  const transport =
    facts.noIommuGroup === undefined ? new SysfsTransport(native, address, root) : openNoIommu(native, facts);
  try {
    const options: DirectDeviceOptions = {
      copyMany: native.copyBatch,
      ...streaming,
      cache,
      name: address,
      memory,
    };
    return { transport, dma: createHardwareDevice(options, debug) };
  } catch (error) {
    transport.close();
    throw error;
  }
}
