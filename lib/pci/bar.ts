/** Base address registers: the regions of device registers that a PCI function has. */
import type { DmaError, ErrnoName } from '../errors.ts';
import type { MmioWindow, ReservedBytes } from '../iommu/address-space.ts';
import { isRegister, type RegisterNames, type Registers, registerError } from '../registers/registers.ts';
import type { BarRange, MsixCapability } from './capabilities/standard.ts';
import { PCI_COMMAND } from './header.ts';

/** The places that the MSI-X capability names. */
export type MsixPlace = Pick<MsixCapability, 'table' | 'pending'>;

export interface BarInfo {
  /** 0 to 5. */
  readonly index: number;
  /** Bytes. */
  readonly size: number;
  readonly kind: 'memory' | 'io';
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
  /**
   * The MSI-X table, which is the host's to access, and its pending bits, which are its to write. Default: none.
   * Other accesses to them throw EPERM.
   */
  readonly reserved?: readonly ReservedBytes[];
}

/** An access throws DmaError as those of `Registers` do; EIO is memory decode off, or no answer. */
export interface Bar extends Registers {
  readonly info: BarInfo;
  /**
   * For `DmaDevice.mapResource`, of this function or another one. Undefined for I/O ports, which DMA cannot reach, and
   * where no IOMMU leads there.
   */
  readonly window: MmioWindow | undefined;
}

/** The names that errors of accesses to a BAR use. */
export function barNames({ index, size }: BarInfo): RegisterNames {
  return {
    name: `BAR ${index}`,
    size,
    silence: 'enable memory decode (command register bit 1) and power state D0, or reset the function',
    instead: 'the MSI-X table and writing its pending bits are not for drivers: use fn.interrupts.msix',
  };
}

/** Bits of the command register that these BARs need to answer. */
export function decodeBits(bars: readonly (Bar | undefined)[]): number {
  return bars.reduce((bits, bar) => bits | (bar === undefined ? 0 : PCI_COMMAND[bar.info.kind]), 0);
}

/** The bytes of a BAR that belong to the host: the MSI-X table and pending bits, where the capability says. */
export function reservedBytes(msix: MsixPlace | undefined, bar: number): readonly ReservedBytes[] {
  if (msix === undefined) return [];
  const { table, pending } = msix;
  const bytes = ({ offset, size }: BarRange, readable: boolean) => ({
    start: offset,
    end: offset + size,
    readable,
  });
  return [
    ...(table.bar === bar ? [bytes(table, false)] : []),
    ...(pending.bar === bar ? [bytes(pending, true)] : []),
  ];
}

/** Whether an access touches bytes that it must not. */
export function touchesReserved(
  reserved: readonly ReservedBytes[],
  offset: number,
  width: number,
  write: boolean,
): boolean {
  for (const { start, end, readable } of reserved) {
    if (offset < end && offset + width > start && (write || !readable)) return true;
  }
  return false;
}

/** The error of a write because of its place in a BAR; undefined when the place is right. */
export function barWriteError(info: BarInfo, offset: number, width: number): DmaError | undefined {
  if (!isRegister(offset, width, info.size)) return barAccessError(info, offset, width, 'EINVAL');
  const reserved = touchesReserved(info.reserved ?? [], offset, width, true);
  return reserved ? barAccessError(info, offset, width, 'EPERM') : undefined;
}

/** The error of an access to a BAR that was refused. */
export function barAccessError(info: BarInfo, offset: number, width: number, code: ErrnoName): DmaError {
  return registerError(barNames(info), offset, width, code);
}
