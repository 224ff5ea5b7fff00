/** A device model plugged into a simulated machine, ready for `openPci`. */
import { DmaDevice } from '../dma/device.ts';
import { DmaError } from '../errors.ts';
import type { IovaRange } from '../iommu/address-space.ts';
import { type Fault, FaultLog } from '../iommu/fault.ts';
import { SimulatedAddressSpace } from '../iommu/simulated.ts';
import { HeapMemory } from '../memory/heap.ts';
import type { OpenedFunction, PciSource } from '../pci/transport.ts';
import { SimulatedBus } from './bus.ts';
import type { DeviceModel } from './model.ts';
import { SimulatedTransport } from './transport.ts';

export interface SimulateOptions {
  /** `domain:bus:device.function`. Default `0000:00:10.0`. */
  readonly address?: string;
  /** Usable IOVA windows, ascending, disjoint, both ends inclusive. Default: Intel VT-d's with 39 bits. */
  readonly ranges?: readonly IovaRange[];
  /** Of the IOMMU and of memory: bytes, a power of two. Default 4096. */
  readonly pageSize?: number;
  /** Mappings the IOMMU takes at once; ENOSPC beyond. Default 65,535. */
  readonly mappingLimit?: number;
  /** Bytes of memory the machine has for DMA; ENOMEM beyond. Default: as much as there is. */
  readonly memoryLimit?: number;
  /** Called at each fault, in the middle of the access that failed: throw here to fail a test on the spot. */
  readonly onFault?: (fault: Fault) => void;
}

export interface SimulatedSource<M extends DeviceModel = DeviceModel> extends PciSource {
  readonly model: M;
  /** What the device did wrong or was not allowed to do, the newest thousand, oldest first, over all openings. */
  readonly faults: readonly Fault[];
}

/**
 * Plug `model` into a machine of its own. It can be opened by one driver at a time, again and again, and keeps its
 * registers in between, as a device in its slot does.
 *
 * @throws DmaError EINVAL malformed address, or a model that describes what no function can be. `openPci` of the
 *   result: EBUSY while it is open, EINVAL page size, windows or memory limit
 */
export function simulate<M extends DeviceModel>(model: M, options: SimulateOptions = {}): SimulatedSource<M> {
  const { address = '0000:00:10.0', pageSize = 4096, ranges, mappingLimit, memoryLimit, onFault } = options;
  checkAddress(address);
  const faults = new FaultLog(onFault === undefined ? {} : { onFault });
  const bus = new SimulatedBus(model, faults);
  const newMemory = () =>
    new HeapMemory({ pageSize, ...(memoryLimit !== undefined && { limit: memoryLimit }) });
  const newSpace = () =>
    new SimulatedAddressSpace({
      pageSize,
      faults,
      ...(ranges !== undefined && { ranges }),
      ...(mappingLimit !== undefined && { mappingLimit }),
    });

  const open = (): OpenedFunction => {
    const addressSpace = newSpace();
    const dma = new DmaDevice({ name: address, memory: newMemory(), addressSpace });
    return { dma, transport: new SimulatedTransport({ address, bus, addressSpace }) };
  };
  return { model, faults: faults.list, open };
}

function checkAddress(address: string): void {
  if (/^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/i.test(address)) return;
  throw new DmaError('EINVAL', `${String(address)} is no PCI address`, {
    remedy: 'write domain:bus:device.function, e.g. 0000:00:10.0',
  });
}
