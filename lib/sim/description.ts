/**
 * The description of a function by its model, with every default filled in. A description of an impossible function
 * is refused.
 */
import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { type BarInfo, type MsixPlace, reservedBytes } from '../pci/bar.ts';
import type { BarRange } from '../pci/capabilities/standard.ts';
import { CAPABILITY, extendedCapabilities, standardCapabilities } from './capabilities.ts';
import { placeBars } from './firmware.ts';
import type {
  BarDescription,
  CapabilityDescription,
  DeviceModel,
  FunctionDescription,
  MsixDescription,
} from './model.ts';

const LARGEST_32BIT_BAR = 2 ** 30;
/** PCI Local Bus 3.0, 6.2.5.1. */
const LARGEST_IO_BAR = 256;
/** Bytes: the smallest page of an IOMMU. */
const LARGEST_GRANULE = 4096;
/** The bytes for capabilities: from 0x40 to 0x100 for standard ones, and from there to the end for extended ones. */
const STANDARD_BYTES = 0xc0;
const EXTENDED_BYTES = 4096 - 256;

/** @throws DmaError EINVAL a header, BARs, interrupt vectors or capabilities that no function can have */
export function describeBars(model: DeviceModel): BarInfo[] {
  const { config } = model;
  checkHeader(config);
  for (const bar of model.bars) {
    if (typeof bar !== 'object' || bar === null)
      throw refusal(`a BAR that is ${describe(bar)}`, 'pass { index, size }');
  }
  if (!Array.isArray(config.capabilities ?? [])) {
    throw refusal(`capabilities that are ${describe(config.capabilities)}`, 'pass an array');
  }
  const bars = model.bars.map((bar) => describeBar(bar, config.msix));
  const numbers = bars.flatMap(({ index, is64Bit }) => (is64Bit ? [index, index + 1] : [index]));
  if (new Set(numbers).size < numbers.length || Math.max(...numbers) > 5) {
    throw refusal(
      `BARs that take the numbers ${numbers.join(', ')}`,
      'use 0 to 5 once; a 64-bit BAR takes two',
    );
  }
  placeBars(bars);
  checkVectors(config, bars);
  checkStandard(config);
  checkExtended(config);
  checkRom(config);
  return bars;
}

function checkHeader(config: FunctionDescription): void {
  const { vendorId, deviceId, revision = 0, classCode = 0 } = config;
  const { subsystemVendorId = 0, subsystemId = 0 } = config;
  const { readGranule = 1 } = config;
  const isPower = Number.isInteger(readGranule) && Number.isInteger(Math.log2(readGranule));
  if (!isPower || readGranule < 1 || readGranule > LARGEST_GRANULE) {
    throw refusal(
      `a read granule of ${describe(readGranule)}`,
      `use a power of two up to ${LARGEST_GRANULE}`,
    );
  }
  checkNumber('vendor id', vendorId, 0xfffe);
  checkNumber('device id', deviceId, 0xffff);
  checkNumber('revision', revision, 0xff);
  checkNumber('class code', classCode, 0xff_ffff);
  checkNumber('subsystem vendor id', subsystemVendorId, 0xffff);
  checkNumber('subsystem id', subsystemId, 0xffff);
}

function checkNumber(what: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= most) return;
  const written = Number.isInteger(value) && value >= 0 ? `0x${value.toString(16)}` : describe(value);
  throw refusal(`the ${what} ${written}`, `use 0 to 0x${most.toString(16)}`);
}

function describeBar(bar: BarDescription, msix: MsixDescription | undefined): BarInfo {
  const { index, size, kind = 'memory', is64Bit = false, prefetchable = false } = bar;
  if (!Number.isInteger(index) || index < 0 || (kind === 'io' && is64Bit)) {
    throw refusal(
      `${is64Bit ? 'a 64-bit ' : 'an '}${kind} BAR ${describe(index)}`,
      'use 0 to 5; I/O has 32 bits',
    );
  }
  if (kind !== 'memory' && kind !== 'io') {
    throw refusal(`a BAR of kind ${describe(kind)}`, "use 'memory' or 'io'");
  }
  const smallest = kind === 'io' ? 4 : 16;
  const largest = kind === 'io' ? LARGEST_IO_BAR : is64Bit ? 2 ** 52 : LARGEST_32BIT_BAR;
  if (!Number.isInteger(Math.log2(size)) || size < smallest || size > largest) {
    throw refusal(`a BAR of ${describe(size)} bytes`, `use a power of two from ${smallest} to ${largest}`);
  }
  const reserved = reservedBytes(msix && msixPlace(msix), index);
  return { index, size, kind, is64Bit, prefetchable, ...(reserved.length > 0 && { reserved }) };
}

function msixPlace({ vectors, bar, table, pendingBar = bar, pending }: MsixDescription): MsixPlace {
  return {
    table: { bar, offset: table, size: 16 * vectors },
    pending: { bar: pendingBar, offset: pending, size: 8 * Math.ceil(vectors / 64) },
  };
}

function checkVectors({ msi, msix }: FunctionDescription, bars: readonly BarInfo[]): void {
  if (msi !== undefined && ![1, 2, 4, 8, 16, 32].includes(msi)) {
    throw refusal(`${describe(msi)} MSI vectors`, 'use a power of two up to 32');
  }
  if (msix !== undefined) checkMsix(msix, bars);
}

function checkMsix(msix: MsixDescription, bars: readonly BarInfo[]): void {
  const { vectors } = msix;
  if (!Number.isInteger(vectors) || vectors < 1 || vectors > 2048) {
    throw refusal(`${describe(vectors)} MSI-X vectors`, 'use 1 to 2048');
  }
  const { table, pending } = msixPlace(msix);
  checkInside('MSI-X table', table, bars);
  checkInside('MSI-X pending bits', pending, bars);
  const apart = table.offset + table.size <= pending.offset || pending.offset + pending.size <= table.offset;
  if (table.bar !== pending.bar || apart) return;
  throw refusal(
    `an MSI-X table at ${table.offset} of ${table.size} bytes, and pending bits at ${pending.offset} of ${pending.size}`,
    'place them so that they do not overlap',
  );
}

function checkInside(what: string, { bar, offset, size }: BarRange, bars: readonly BarInfo[]): void {
  const found = bars.find(({ index }) => index === bar);
  if (found?.kind === 'io') throw refusal(`${what} in I/O BAR ${bar}`, 'place it in a BAR of memory');
  const end = Math.min(found?.size ?? 0, 2 ** 32);
  if (Number.isInteger(offset) && offset >= 0 && offset % 8 === 0 && offset + size <= end) return;
  throw refusal(
    `${what} outside BAR ${describe(bar)}`,
    'place it at a multiple of 8, below 4 GiB, inside one of its BARs',
  );
}

function checkStandard(config: FunctionDescription): void {
  const made: readonly number[] = Object.values(CAPABILITY);
  for (const capability of config.capabilities ?? []) {
    const { id } = capability;
    if (!Number.isInteger(id) || id < 1 || id > 0xfe || made.includes(id)) {
      throw refusal(
        `a capability ${describe(id)}`,
        'use 1 to 254; power, msi, msix, express and functionLevelReset of the description make theirs',
      );
    }
    checkRegisters(`capability ${id}`, capability);
  }
  const all = standardCapabilities(config);
  const bytes = all.reduce((sum, { registers }) => sum + roundUp(2 + registers.length), 0);
  if (bytes > STANDARD_BYTES) {
    throw refusal(
      `${bytes} bytes of capabilities`,
      `use up to ${STANDARD_BYTES}, those of its fields included`,
    );
  }
}

function checkExtended(config: FunctionDescription): void {
  const { express, serialNumber, extended = [] } = config;
  if (serialNumber !== undefined && !isUint64(serialNumber)) {
    throw refusal(`the serial number ${describe(serialNumber)}`, 'use a bigint of 64 bits');
  }
  for (const capability of extended) {
    const { id, version = 1 } = capability;
    checkNumber('version of an extended capability', version, 15);
    if (!Number.isInteger(id) || id < 1 || id > 0xfffe) {
      throw refusal(`an extended capability ${describe(id)}`, 'use 1 to 0xfffe');
    }
    checkRegisters(`extended capability ${id}`, capability);
  }
  const all = extendedCapabilities(config);
  if (all.length > 0 && !express) {
    throw refusal('extended capabilities of a conventional function', 'describe it as express');
  }
  const bytes = all.reduce((sum, { registers }) => sum + roundUp(4 + registers.length), 0);
  if (bytes > EXTENDED_BYTES) {
    throw refusal(`${bytes} bytes of extended capabilities`, `use up to ${EXTENDED_BYTES}`);
  }
}

function checkRegisters(what: string, capability: Omit<CapabilityDescription, 'id'>): void {
  const { registers, writable, clearable } = capability;
  const isMask = (mask: Uint8Array | undefined) =>
    mask === undefined || (mask instanceof Uint8Array && mask.length <= registers.length);
  if (registers instanceof Uint8Array && isMask(writable) && isMask(clearable)) return;
  throw refusal(
    `${what} of other registers than bytes`,
    'use Uint8Arrays, with masks no longer than the registers',
  );
}

function checkRom({ rom }: FunctionDescription): void {
  if (rom === undefined || (Number.isInteger(Math.log2(rom.length)) && rom.length >= 2048)) return;
  throw refusal(`a ROM of ${rom.length} bytes`, 'use a power of two of at least 2048');
}

function isUint64(value: unknown): boolean {
  return typeof value === 'bigint' && BigInt.asUintN(64, value) === value;
}

/** Capabilities start at multiples of 4. */
function roundUp(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

function refusal(what: string, remedy: string): DmaError {
  return new DmaError('EINVAL', `the model describes ${what}`, { remedy });
}
