/**
 * Tests of a function that need no knowledge of its device: the kernel's side of interrupts, memory and registers.
 * They give no command to the device, and bus mastering stays off.
 */
import { checkInstance } from '../arguments.ts';
import type { InterruptKind } from '../interrupts/access.ts';
import { readMemlock } from '../iommu/memlock.ts';
import { PciFunction } from '../pci/function.ts';

/** The result of one test. */
export interface Check {
  readonly name: string;
  /** Undefined: there is nothing to test. */
  readonly ok: boolean | undefined;
  readonly result: string;
}

const PAGE = 4096;
const LARGEST = 64 * 2 ** 20;

/** Tests interrupts, memory and registers of a function without using the device. */
export async function selfTest(fn: PciFunction): Promise<Check[]> {
  checkInstance(PciFunction, 'pass an open function, of openPci')(fn, 'what is to be tested');
  return [
    check('configuration space', () => `${fn.config.size} bytes, answers: ${fn.isPresent()}`),
    ...[0, 1, 2, 3, 4, 5].map((index) => barCheck(fn, index)),
    await interruptCheck(fn, 'intx'),
    await interruptCheck(fn, 'msi'),
    await interruptCheck(fn, 'msix'),
    check('coherent memory', () => coherent(fn, PAGE)),
    check('large coherent memory', () => largest(fn)),
    check('map and unmap', () => streaming(fn)),
    check('locked memory', () => {
      const limit = readMemlock('VmLck')?.limit;
      return limit === undefined ? 'unknown' : limit === Infinity ? 'no limit' : `${limit / 1024} KiB`;
    }),
    check('address ranges', () =>
      fn.dma.addressRanges.map(({ start, end }) => `${hex(start)}-${hex(end)}`).join(' '),
    ),
  ];
}

function barCheck(fn: PciFunction, index: number): Check {
  const name = `BAR ${index}`;
  try {
    const bar = fn.bar(index);
    return { name, ok: true, result: `${bar.size} bytes of ${bar.info.kind}` };
  } catch {
    return { name, ok: undefined, result: 'none' };
  }
}

/** A vector signals itself, as the device would, and the event loop delivers it. */
async function interruptCheck(fn: PciFunction, kind: InterruptKind): Promise<Check> {
  const name = `interrupts: ${kind}`;
  const limit = fn.interrupts.limit(kind);
  if (limit === 0) return { name, ok: undefined, result: 'none' };
  try {
    const interrupt = kind === 'intx' ? fn.interrupts.intx() : fn.interrupts[kind](0);
    try {
      interrupt.trigger();
      await interrupt.wait({ signal: AbortSignal.timeout(2000) });
      return { name, ok: true, result: `${limit} vectors, vector 0 delivers` };
    } finally {
      interrupt.close();
    }
  } catch (error) {
    return { name, ok: false, result: errorText(error) };
  }
}

function coherent(fn: PciFunction, size: number): string {
  using memory = fn.dma.allocCoherent(size);
  return `${size} bytes at ${hex(memory.dmaAddress)}`;
}

/** The size of the largest possible allocation, tried by powers of two. */
function largest(fn: PciFunction): string {
  let last = '';
  for (let size = PAGE; size <= LARGEST; size *= 4) {
    try {
      last = coherent(fn, size);
    } catch (error) {
      if (last === '') throw error;
      return `${last}; not ${size}: ${errorText(error)}`;
    }
  }
  return last;
}

function streaming(fn: PciFunction): string {
  const mapping = fn.dma.mapSingle(new Uint8Array(PAGE).fill(0x5a), 'to-device');
  const { way } = mapping;
  mapping.unmap();
  return `foreign memory is reached by: ${way}`;
}

function check(name: string, test: () => string): Check {
  try {
    return { name, ok: true, result: test() };
  } catch (error) {
    return { name, ok: false, result: errorText(error) };
  }
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
