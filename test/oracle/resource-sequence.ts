/** The part of a sequence that maps registers of the device for its own DMA. */
import { DMA_ATTR } from '../../lib/index.ts';
import type { Random } from '../random.ts';
import { BAR_SIZE, type Request } from './protocol.ts';

const PAGE = 4096;
const FIRST_SLOT = 192;
/** Few, so that narrow masks have addresses for all of them. */
const SLOTS = 8;
/** Bits that no attribute has, or has any more. */
const MEANINGLESS = [1 << 0, 1 << 3];

interface Live {
  readonly size: number;
  readonly attrs: number;
}

export class ResourceSequence {
  readonly #random: Random;
  readonly #ask: (request: Request) => void;
  readonly #live = new Map<number, Live>();

  constructor(random: Random, ask: (request: Request) => void) {
    this.#random = random;
    this.#ask = ask;
  }

  end(): void {
    for (const slot of [...this.#live.keys()]) this.#unmap(slot);
  }

  act(): void {
    const random = this.#random;
    const slot = FIRST_SLOT + random.below(SLOTS);
    const live = this.#live.get(slot);
    if (live === undefined) this.#map(slot);
    else if (random.chance(0.4)) this.#unmap(slot);
    else this.#ask({ op: 'reach', slot, offset: random.pick([0, live.size - 1, random.below(live.size)]) });
  }

  #map(slot: number): void {
    const random = this.#random;
    const unit = random.chance(0.8) ? PAGE : 1;
    const most = random.chance(0.9) ? 2 ** 16 : BAR_SIZE;
    const size = unit * random.between(1, most / unit);
    const offset = unit * random.between(0, (BAR_SIZE - size) / unit);
    const attrs = this.#attributes();
    this.#ask({ op: 'mapResource', slot, offset, size, dir: random.below(3), attrs });
    this.#live.set(slot, { size, attrs });
    this.#ask({ op: 'reach', slot, offset: 0 });
  }

  #attributes(): number {
    const random = this.#random;
    if (random.chance(0.7)) return 0;
    if (random.chance(0.1)) return random.pick(MEANINGLESS);
    return random.pick(Object.values(DMA_ATTR)) | random.pick([0, ...Object.values(DMA_ATTR)]);
  }

  #unmap(slot: number): void {
    const { attrs } = this.#live.get(slot)!;
    const { MMIO, SKIP_CPU_SYNC } = DMA_ATTR;
    this.#ask({
      op: 'unmapResource',
      slot,
      attrs: this.#random.pick([attrs, attrs | MMIO, attrs ^ SKIP_CPU_SYNC]),
    });
    this.#live.delete(slot);
  }
}
