/**
 * Configuration space that lies: capability lists that loop or lead nowhere, nothing but ones or zeros, values that change
 * from read to read. BARs of impossible sizes are the model's description, not configuration space: what the kernel says.
 */

import type { ConfigAccess, OpenedFunction, PciSource, PciTransport } from '../../lib/pci/transport.ts';
import type { BarDescription, DeviceModel, SimulatedSource } from '../../lib/sim/index.ts';
import type { Random } from '../random.ts';

const POINTER = 0x34;
const STATUS = 0x06;
const FIRST_CAPABILITY = 0x40;
const FIRST_EXTENDED = 0x100;
/** Sizes that no driver of ours can use. */
const SIZES = [16, 64, 4096];

/** What a read of `width` bytes at `offset` answers instead of `truth`. */
type Lie = (offset: number, truth: number, width: number) => number;

function lieOf(random: Random, access: ConfigAccess): Lie {
  const ones = (width: number): number => 2 ** (8 * width) - 1;
  const rate = 1 + random.below(20);
  const target = FIRST_CAPABILITY + 4 * random.below(48);
  const noise = random.bytes(access.size);
  const word = (offset: number, width: number): number => noise.readUIntLE(offset, width);
  const inLists = (offset: number): boolean => offset === POINTER || offset >= FIRST_CAPABILITY;
  const lies: readonly Lie[] = [
    (_offset, _truth, width) => ones(width),
    () => 0,
    // Every capability, of whatever kind, is followed by the same one.
    (offset, truth, width) => {
      if (offset === STATUS) return truth | 0x10;
      if (offset === POINTER) return target;
      if (offset >= FIRST_EXTENDED && width === 4) return ((FIRST_EXTENDED << 20) | (truth & 0xf_ffff)) >>> 0;
      if (offset < FIRST_CAPABILITY) return truth;
      return width === 1 ? (offset % 4 === 1 ? target : truth) : (truth & ~0xff00) | (target << 8);
    },
    // The lists are noise, once and for all.
    (offset, truth, width) => (inLists(offset) ? word(offset, width) : truth),
    // Everything is.
    (offset, _truth, width) => word(offset, width),
    // Any read may be anything.
    (_offset, truth, width) => (random.below(rate) === 0 ? random.below(2 ** (8 * width)) : truth),
    (offset, truth, width) =>
      inLists(offset) && random.below(rate) === 0 ? random.below(2 ** (8 * width)) : truth,
    // The list ends beyond the end.
    (offset, truth, width) => (offset === POINTER ? 0xfc + random.below(4) : word(offset, width) & truth),
  ];
  return lies[random.below(lies.length)]!;
}

class LyingConfig implements ConfigAccess {
  readonly size: number;
  readonly #access: ConfigAccess;
  readonly #lie: Lie;
  readonly #lies: () => boolean;

  constructor(access: ConfigAccess, random: Random, lies: () => boolean) {
    this.size = access.size;
    this.#access = access;
    this.#lie = lieOf(random, access);
    this.#lies = lies;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    const truth = this.#access.read(offset, width);
    return this.#lies() ? (this.#lie(offset, truth, width) & (2 ** (8 * width) - 1)) >>> 0 : truth;
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#access.write(offset, width, value);
  }
}

/** The same function, whose configuration space lies while `lies` says so. */
export function withLyingConfig(source: SimulatedSource, random: Random, lies: () => boolean): PciSource {
  return {
    open(options): OpenedFunction {
      const { dma, transport } = source.open(options);
      const config = new LyingConfig(transport.config, random, lies);
      const get = (target: PciTransport, key: string | symbol): unknown => {
        if (key === 'config') return config;
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      };
      return { dma, transport: new Proxy(transport, { get }) };
    },
  };
}

/** The BARs of a function as no such function has them: too small, or none. What MSI-X needs of them stays. */
export function impossibleBars({ bars, config }: DeviceModel, random: Random): readonly BarDescription[] {
  const { msix } = config;
  return bars
    .filter(({ index }) => index === msix?.bar || random.below(3) > 0)
    .map((bar): BarDescription => {
      const size = bar.index === msix?.bar ? bar.size : SIZES[random.below(SIZES.length)]!;
      return { ...bar, size: Math.min(size, bar.size) };
    });
}
