/** Base address registers: the windows of device registers that a PCI function has. */
import type { DmaError, ErrnoName } from '../errors.ts';
import type { MmioWindow } from '../iommu/address-space.ts';
import { type RegisterNames, Registers, registerError } from '../registers/registers.ts';

export { registerValue } from '../registers/registers.ts';

export interface BarInfo {
  /** 0 to 5. */
  readonly index: number;
  /** Bytes. */
  readonly size: number;
  readonly kind: 'memory' | 'io';
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
}

/** An access throws DmaError as those of `Registers` do; EIO is memory decode off, or no answer. */
export abstract class Bar extends Registers {
  readonly info: BarInfo;

  constructor(info: BarInfo) {
    super();
    this.info = info;
  }

  override get size(): number {
    return this.info.size;
  }

  /** For `DmaDevice.mapResource`, of this function or another one. Undefined for I/O ports, which DMA cannot reach. */
  get window(): MmioWindow | undefined {
    return undefined;
  }
}

/** What errors of accesses to a BAR say. */
export function barNames({ index, size }: BarInfo): RegisterNames {
  return {
    name: `BAR ${index}`,
    size,
    silence: 'enable memory decode (command register bit 1) and power state D0, or reset the function',
  };
}

/** The error of an access to a BAR that was refused. */
export function barAccessError(info: BarInfo, offset: number, width: number, code: ErrnoName): DmaError {
  return registerError(barNames(info), offset, width, code);
}
