/** Base address registers (BARs): the regions of registers that a PCI function has. */
import type { DmaError, ErrnoName } from '../errors.ts';
import type { MmioWindow, ReservedBytes } from '../iommu/address-space.ts';
import { isRegister, type RegisterNames, type Registers, registerError } from '../registers/registers.ts';
import type { BarRange, MsixCapability } from './capabilities/standard.ts';
import { PCI_COMMAND } from './header.ts';

/** Where the MSI-X capability puts its table and its pending bits. */
export type MsixPlace = Pick<MsixCapability, 'table' | 'pending'>;

/** What configuration space says of a BAR. */
export interface BarInfo {
  /** 0 to 5. */
  readonly index: number;
  /** Bytes. */
  readonly size: number;
  readonly kind: 'memory' | 'io';
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
  /**
   * The MSI-X table and its pending bits. The host owns the table: the driver can neither read nor write it. The
   * host also owns the pending bits: the driver can read them, but not write them. An access that is not allowed
   * throws EPERM. Default: none.
   */
  readonly reserved?: readonly ReservedBytes[];
}

/**
 * An access throws DmaError as the accesses of `Registers` do. EIO means that memory decode is off, or that the
 * device did not answer.
 */
export interface Bar extends Registers {
  readonly info: BarInfo;
  /**
   * The region for `DmaDevice.mapResource`, of this function or of another one. It is undefined for I/O ports,
   * which DMA cannot reach, and where no IOMMU leads to the BAR.
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

/**
 * The bytes of a BAR that belong to the host: the MSI-X table and the pending bits, if the capability puts them
 * there.
 */
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

/** Returns true if an access touches bytes that it must not touch. */
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

/** The error of an access, if its place in the BAR is wrong; undefined if the place is right. */
export function barPlaceError(
  info: BarInfo,
  offset: number,
  width: number,
  write: boolean,
): DmaError | undefined {
  if (!isRegister(offset, width, info.size)) return barAccessError(info, offset, width, 'EINVAL');
  const reserved = touchesReserved(info.reserved ?? [], offset, width, write);
  return reserved ? barAccessError(info, offset, width, 'EPERM') : undefined;
}

/** The error of an access that the BAR refused. */
export function barAccessError(info: BarInfo, offset: number, width: number, code: ErrnoName): DmaError {
  return registerError(barNames(info), offset, width, code);
}
