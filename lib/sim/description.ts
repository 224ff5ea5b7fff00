/** What a model says about itself, with every default filled in, and refused when no function could be like that. */
import { DmaError } from '../errors.ts';
import type { BarInfo } from '../pci/bar.ts';
import type { BarDescription, DeviceModel, FunctionDescription, MsixDescription } from './model.ts';

const LARGEST_32BIT_BAR = 2 ** 30;

/** @throws DmaError EINVAL a BAR that cannot be, or interrupt vectors that cannot be */
export function describeBars(model: DeviceModel): BarInfo[] {
  const bars = model.bars.map(describeBar);
  const numbers = bars.flatMap(({ index, is64Bit }) => (is64Bit ? [index, index + 1] : [index]));
  if (new Set(numbers).size < numbers.length || Math.max(...numbers) > 5) {
    throw refusal(
      `BARs that take the numbers ${numbers.join(', ')}`,
      'use 0 to 5 once; a 64-bit BAR takes two',
    );
  }
  checkVectors(model.config, bars);
  return bars;
}

function describeBar(bar: BarDescription): BarInfo {
  const { index, size, kind = 'memory', is64Bit = false, prefetchable = false } = bar;
  const smallest = kind === 'io' ? 4 : 16;
  const largest = is64Bit ? 2 ** 52 : LARGEST_32BIT_BAR;
  if (!Number.isInteger(index) || index < 0 || (kind === 'io' && is64Bit)) {
    throw refusal(
      `${is64Bit ? 'a 64-bit ' : 'an '}${kind} BAR ${String(index)}`,
      'use 0 to 5; I/O has 32 bits',
    );
  }
  if (!Number.isInteger(Math.log2(size)) || size < smallest || size > largest) {
    throw refusal(`a BAR of ${String(size)} bytes`, `use a power of two from ${smallest} to ${largest}`);
  }
  return { index, size, kind, is64Bit, prefetchable };
}

function checkVectors({ msi, msix }: FunctionDescription, bars: readonly BarInfo[]): void {
  if (msi !== undefined && ![1, 2, 4, 8, 16, 32].includes(msi)) {
    throw refusal(`${String(msi)} MSI vectors`, 'use a power of two up to 32');
  }
  if (msix !== undefined) checkMsix(msix, bars);
}

function checkMsix({ vectors, bar, table, pending }: MsixDescription, bars: readonly BarInfo[]): void {
  if (!Number.isInteger(vectors) || vectors < 1 || vectors > 2048) {
    throw refusal(`${String(vectors)} MSI-X vectors`, 'use 1 to 2048');
  }
  const size = bars.find(({ index }) => index === bar)?.size ?? 0;
  const fits = (offset: number, bytes: number) => offset >= 0 && offset % 8 === 0 && offset + bytes <= size;
  if (fits(table, 16 * vectors) && fits(pending, 8 * Math.ceil(vectors / 64))) return;
  throw refusal(
    `an MSI-X table outside BAR ${String(bar)}`,
    'place it at multiples of 8 inside one of its BARs',
  );
}

function refusal(what: string, remedy: string): DmaError {
  return new DmaError('EINVAL', `the model describes ${what}`, { remedy });
}
