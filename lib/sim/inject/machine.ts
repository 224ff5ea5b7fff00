/** The rest of a simulated machine, which fails when a FaultInjector says so: memory, IOMMU, bounce buffer, reset. */
import type { DeviceParts } from '../../dma/parts.ts';
import type { Streaming, StreamingDevice } from '../../dma/streaming/streaming.ts';
import { DmaError } from '../../errors.ts';
import type { InterruptKind } from '../../interrupts/access.ts';
import type { Access } from '../../iommu/access.ts';
import type { MmioWindow } from '../../iommu/address-space.ts';
import { SimulatedAddressSpace, type SimulatedAddressSpaceOptions } from '../../iommu/simulated.ts';
import { HeapMemory, type HeapMemoryOptions } from '../../memory/heap.ts';
import type { Coherence } from '../../memory/source.ts';
import { SimulatedTransport, type SimulatedTransportOptions } from '../transport.ts';
import type { FaultInjector } from './inject.ts';

/** The remedy of all these errors: they are not the driver's fault. */
const REMEDY = 'this fault was injected: the driver has to live with it';

/** Simulated memory whose allocations fail by the injector's rules. */
export class InjectedMemory extends HeapMemory {
  readonly #injector: FaultInjector;

  constructor(options: HeapMemoryOptions, injector: FaultInjector) {
    super(options);
    this.#injector = injector;
  }

  override allocate(size: number, coherence?: Coherence): ArrayBuffer {
    if (this.#injector.strike('no-memory') === undefined) return super.allocate(size, coherence);
    throw new DmaError('ENOMEM', `no memory for ${size} bytes`, { remedy: REMEDY });
  }
}

/** A simulated address space whose mappings fail by the injector's rules. */
export class InjectedAddressSpace extends SimulatedAddressSpace {
  readonly #injector: FaultInjector;

  constructor(options: SimulatedAddressSpaceOptions, injector: FaultInjector) {
    super(options);
    this.#injector = injector;
  }

  override map(iova: number, buffer: ArrayBufferLike, offset: number, size: number, access: Access): void {
    this.#refuse();
    super.map(iova, buffer, offset, size, access);
  }

  override mapWindow(iova: number, window: MmioWindow, offset: number, size: number, access: Access): void {
    this.#refuse();
    super.mapWindow(iova, window, offset, size, access);
  }

  #refuse(): void {
    if (this.#injector.strike('map-limit') !== undefined) {
      throw new DmaError('ENOSPC', 'no mappings are left', { remedy: REMEDY });
    }
    if (this.#injector.strike('map-no-memory') !== undefined) {
      throw new DmaError('ENOMEM', 'the limit of locked memory is reached', { remedy: REMEDY });
    }
  }
}

/** A simulated transport whose resets fail, and whose vectors run out, by the injector's rules. */
export class InjectedTransport extends SimulatedTransport {
  readonly #injector: FaultInjector;

  constructor(options: SimulatedTransportOptions, injector: FaultInjector) {
    super({ ...options, onArm: (kind, vector) => limitVectors(injector, kind, vector) });
    this.#injector = injector;
  }

  protected override resetDevice(): void {
    if (this.#injector.strike('reset-fails') !== undefined) {
      throw new DmaError('EAGAIN', `${this.address} was not reset`, { remedy: REMEDY });
    }
    super.resetDevice();
  }
}

/** INTx is a line, and always available. */
function limitVectors(injector: FaultInjector, kind: InterruptKind, vector: number): void {
  if (kind === 'intx' || injector.strike('vector-limit') === undefined) return;
  throw new DmaError('ENOSPC', `no ${kind} vector ${vector}: the system granted fewer`, { remedy: REMEDY });
}

/**
 * For `DmaDevice`'s option `alter`: addresses run out and the bounce buffer is full when the injector says so. The
 * methods are replaced on this one device only. Its classes stay as they are for all other devices.
 */
export function injectInto(parts: DeviceParts, injector: FaultInjector): DeviceParts {
  return {
    ...parts,
    streaming(device, limit, options) {
      limitAddresses(device, injector);
      const streaming = parts.streaming(device, limit, options);
      limitBouncing(streaming, injector);
      return streaming;
    },
  };
}

function limitAddresses({ operations }: StreamingDevice, injector: FaultInjector): void {
  const reserve = operations.reserve.bind(operations);
  operations.reserve = (size, limit) =>
    injector.strike('no-iova') === undefined ? reserve(size, limit) : undefined;
}

function limitBouncing({ bounce }: Streaming, injector: FaultInjector): void {
  const take = bounce.take.bind(bounce);
  bounce.take = (size, pad, align) => {
    if (injector.strike('bounce-full') === undefined) return take(size, pad, align);
    throw bounce.refuse(size, 'it is full');
  };
}
