/** What a model says about itself, with every default filled in, and refused when no function could be like that. */
import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { type BarInfo, type MsixPlace, reservedBytes } from '../pci/bar.ts';
import type { BarRange } from '../pci/capabilities/standard.ts';
import type {
  BarDescription,
  DeviceModel,
  ExtendedDescription,
  FunctionDescription,
  MsixDescription,
} from './model.ts';

const LARGEST_32BIT_BAR = 2 ** 30;
/** From 0x100 on. */
const EXTENDED_BYTES = 4096 - 256;

/** @throws DmaError EINVAL a BAR that cannot be, or interrupt vectors that cannot be */
export function describeBars(model: DeviceModel): BarInfo[] {
  const { msix } = model.config;
  const bars = model.bars.map((bar) => describeBar(bar, msix));
  const numbers = bars.flatMap(({ index, is64Bit }) => (is64Bit ? [index, index + 1] : [index]));
  if (new Set(numbers).size < numbers.length || Math.max(...numbers) > 5) {
    throw refusal(
      `BARs that take the numbers ${numbers.join(', ')}`,
      'use 0 to 5 once; a 64-bit BAR takes two',
    );
  }
  checkVectors(model.config, bars);
  checkExpress(model.config);
  checkRom(model.config);
  return bars;
}

function describeBar(bar: BarDescription, msix: MsixDescription | undefined): BarInfo {
  const { index, size, kind = 'memory', is64Bit = false, prefetchable = false } = bar;
  const smallest = kind === 'io' ? 4 : 16;
  const largest = is64Bit ? 2 ** 52 : LARGEST_32BIT_BAR;
  if (!Number.isInteger(index) || index < 0 || (kind === 'io' && is64Bit)) {
    throw refusal(
      `${is64Bit ? 'a 64-bit ' : 'an '}${kind} BAR ${describe(index)}`,
      'use 0 to 5; I/O has 32 bits',
    );
  }
  if (!Number.isInteger(Math.log2(size)) || size < smallest || size > largest) {
    throw refusal(`a BAR of ${describe(size)} bytes`, `use a power of two from ${smallest} to ${largest}`);
  }
  const reserved = reservedBytes(msix && msixPlace(msix), index);
  return { index, size, kind, is64Bit, prefetchable, ...(reserved.length > 0 && { reserved }) };
}

function msixPlace({ vectors, bar, table, pending }: MsixDescription): MsixPlace {
  return {
    table: { bar, offset: table, size: 16 * vectors },
    pending: { bar, offset: pending, size: 8 * Math.ceil(vectors / 64) },
  };
}

function checkVectors({ msi, msix }: FunctionDescription, bars: readonly BarInfo[]): void {
  if (msi !== undefined && ![1, 2, 4, 8, 16, 32].includes(msi)) {
    throw refusal(`${describe(msi)} MSI vectors`, 'use a power of two up to 32');
  }
  if (msix !== undefined) checkMsix(msix, bars);
}

function checkMsix(msix: MsixDescription, bars: readonly BarInfo[]): void {
  const { vectors, bar } = msix;
  if (!Number.isInteger(vectors) || vectors < 1 || vectors > 2048) {
    throw refusal(`${describe(vectors)} MSI-X vectors`, 'use 1 to 2048');
  }
  const size = bars.find(({ index }) => index === bar)?.size ?? 0;
  const fits = (range: BarRange) =>
    range.offset >= 0 && range.offset % 8 === 0 && range.offset + range.size <= size;
  const { table, pending } = msixPlace(msix);
  if (fits(table) && fits(pending)) return;
  throw refusal(
    `an MSI-X table outside BAR ${describe(bar)}`,
    'place it at multiples of 8 inside one of its BARs',
  );
}

function checkExpress(description: FunctionDescription): void {
  const { express, serialNumber } = description;
  const all = extendedCapabilities(description);
  if (all.length > 0 && !express) {
    throw refusal('extended capabilities of a conventional function', 'describe it as express');
  }
  if (serialNumber !== undefined && BigInt.asUintN(64, serialNumber) !== serialNumber) {
    throw refusal(`the serial number ${serialNumber}`, 'use 64 bits');
  }
  for (const { id, registers, writable, clearable } of all) {
    const fits = (bytes: Uint8Array | undefined) => (bytes?.length ?? 0) <= registers.length;
    if (!Number.isInteger(id) || id < 1 || id > 0xfffe || !fits(writable) || !fits(clearable)) {
      throw refusal(`an extended capability ${describe(id)}`, 'use 1 to 0xfffe, and masks no longer than it');
    }
  }
  const bytes = all.reduce((sum, { registers }) => sum + 4 + Math.ceil(registers.length / 4) * 4, 0);
  if (bytes > EXTENDED_BYTES) {
    throw refusal(`${bytes} bytes of extended capabilities`, `use up to ${EXTENDED_BYTES}`);
  }
}

/** All that a function has, in the order of its list. */
export function extendedCapabilities({
  errorReporting,
  serialNumber,
  extended = [],
}: FunctionDescription): readonly ExtendedDescription[] {
  return [
    ...(errorReporting ? [errorCapability()] : []),
    ...(serialNumber === undefined ? [] : [serialCapability(serialNumber)]),
    ...extended,
  ];
}

/** Advanced Error Reporting with every error reported, and none there. Registers count from behind the header. */
function errorCapability(): ExtendedDescription {
  const words = (of: Record<number, number>): Uint8Array => {
    const view = new DataView(new ArrayBuffer(40));
    for (const [register, bits] of Object.entries(of)) view.setUint32(Number(register) - 4, bits, true);
    return new Uint8Array(view.buffer);
  };
  const [uncorrectable, correctable] = [0x007ff030, 0x0000f1c1];
  return {
    id: 0x01,
    version: 2,
    // As the specification has them after a reset: what is fatal, and what is not reported.
    registers: words({ 12: 0x00462030, 20: 0x0000e000 }),
    writable: words({ 8: uncorrectable, 12: uncorrectable, 20: correctable }),
    clearable: words({ 4: uncorrectable, 16: correctable }),
  };
}

function serialCapability(value: bigint): ExtendedDescription {
  const registers = new Uint8Array(8);
  new DataView(registers.buffer).setBigUint64(0, value, true);
  return { id: 0x03, registers };
}

function checkRom({ rom }: FunctionDescription): void {
  if (rom === undefined || (Number.isInteger(Math.log2(rom.length)) && rom.length >= 2048)) return;
  throw refusal(`a ROM of ${rom.length} bytes`, 'use a power of two of at least 2048');
}

function refusal(what: string, remedy: string): DmaError {
  return new DmaError('EINVAL', `the model describes ${what}`, { remedy });
}
