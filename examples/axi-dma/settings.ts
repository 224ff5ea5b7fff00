/** The facts about the core that the caller has to tell the driver. */
import { DmaError } from '../../lib/index.ts';

/** How the core was built. The driver cannot read this from the core. */
export interface AxiDmaOptions {
  /** "Address Width", 32 to 64. Default 32. */
  readonly addressBits?: number;
  /** "Width of Buffer Length Register", 8 to 26. Default 14, as in the core. */
  readonly lengthBits?: number;
  /**
   * The alignment of buffers in bytes: the size of a bus word, unless "Allow Unaligned Transfers" is on. Default 1.
   */
  readonly alignment?: number;
  /** Descriptors of each ring. Default 64. */
  readonly descriptors?: number;
  /**
   * Scatter-gather only: one interrupt for so many packets (1 to 255), or after `delay` times 125 clocks without a
   * packet (1 to 255). Default: one for each packet.
   */
  readonly coalesce?: { readonly packets: number; readonly delay: number };
}

/** The options, with defaults filled in. */
export interface Settings {
  readonly addressBits: number;
  readonly lengthBits: number;
  readonly alignment: number;
  readonly descriptors: number;
  readonly coalesce: { readonly packets: number; readonly delay: number };
}

/** @throws DmaError EINVAL */
export function checkSettings(options: AxiDmaOptions): Settings {
  const { addressBits = 32, lengthBits = 14, alignment = 1, descriptors = 64 } = options;
  const { packets, delay } = options.coalesce ?? { packets: 1, delay: 0 };
  const power = Number.isInteger(alignment) && alignment > 0 && (alignment & (alignment - 1)) === 0;
  check(isWithin(addressBits, 32, 64), 'addressBits', addressBits, '32 to 64');
  check(isWithin(lengthBits, 8, 26), 'lengthBits', lengthBits, '8 to 26');
  check(power, 'alignment', alignment, 'a power of two');
  check(isWithin(packets, 1, 255), 'coalesce.packets', packets, '1 to 255');
  // Without the delay, the driver would never hear of the last packets of a burst.
  check(isWithin(delay, packets > 1 ? 1 : 0, 255), 'coalesce.delay', delay, '1 to 255');
  return { addressBits, lengthBits, alignment, descriptors, coalesce: { packets, delay } };
}

function check(good: boolean, name: string, value: unknown, allowed: string): void {
  if (!good) throw new DmaError('EINVAL', `${name} is ${String(value)}`, { remedy: `pass ${allowed}` });
}

function isWithin(value: number, low: number, high: number): boolean {
  return Number.isInteger(value) && value >= low && value <= high;
}
