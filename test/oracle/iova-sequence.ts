/**
 * The part of a sequence that maps in two steps. It reserves addresses for parts of buffers, links them one after the
 * other, and unlinks them from the last one on. The first part may start inside a page, and the last may end in one.
 */
import { DMA_ATTR } from '../../lib/index.ts';
import type { Random } from '../random.ts';
import { Live } from './live.ts';
import { BUFFER_SIZE, BUFFERS, type Part, type Request } from './protocol.ts';

const PAGE = 4096;
const TO_DEVICE = 1;
const FROM_DEVICE = 2;
const FIRST_SLOT = 208;
const SLOTS = 8;
const { SKIP_CPU_SYNC, REQUIRE_COHERENT } = DMA_ATTR;

interface Link {
  readonly part: Part;
  /** The offset in the reserved addresses. */
  readonly at: number;
  readonly dir: number;
  /** True if the device has written. */
  written: boolean;
}

interface Range {
  readonly parts: readonly Part[];
  /** REQUIRE_COHERENT of all links, or 0. */
  readonly strict: number;
  readonly links: Link[];
}

export class IovaSequence {
  readonly #random: Random;
  readonly #ask: (request: Request) => void;
  readonly #isFree: (part: Part) => boolean;
  readonly #live = new Map<number, Range>();

  /** @param isFree whether no mapping outside this class has a byte of the part */
  constructor(random: Random, ask: (request: Request) => void, isFree: (part: Part) => boolean) {
    this.#random = random;
    this.#ask = ask;
    this.#isFree = isFree;
  }

  overlaps(part: Part): boolean {
    return [...this.#live.values()].some(({ parts }) => parts.some((other) => Live.meet(part, other)));
  }

  end(): void {
    for (const slot of [...this.#live.keys()]) this.#destroy(slot);
  }

  act(): void {
    const random = this.#random;
    const slot = FIRST_SLOT + random.below(SLOTS);
    const range = this.#live.get(slot);
    if (range === undefined) {
      this.#reserve(slot);
      return;
    }
    const choice = random.below(100);
    const { parts, links } = range;
    if (choice < 60 && links.length < parts.length) this.#link(slot, range);
    else if (choice < 80 && links.length > 0) this.#use(slot, random.pick(links));
    else if (choice < 90 && links.length > 0) this.#unlink(slot, range);
    else this.#destroy(slot);
  }

  #reserve(slot: number): void {
    const random = this.#random;
    const count = random.between(1, 5);
    const parts: Part[] = [];
    for (let i = 0; i < count; i++) {
      const part = this.#part(i === 0, i === count - 1);
      if (!this.#isFree(part) || this.overlaps(part)) return;
      if (parts.some((other) => Live.meet(part, other))) return;
      parts.push(part);
    }
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    const { buffer, offset } = parts[0]!;
    this.#ask({ op: 'iovaAlloc', slot, buffer, offset, size });
    // A part that is refused alone leaves no gap before another.
    const strict = count === 1 && random.chance(0.3) ? REQUIRE_COHERENT : 0;
    this.#live.set(slot, { parts, strict, links: [] });
  }

  #part(isFirst: boolean, isLast: boolean): Part {
    const random = this.#random;
    const pages = random.between(1, 4);
    const start = isFirst && random.chance(0.5) ? random.below(PAGE) : 0;
    const whole = PAGE * pages - start;
    const size = isLast && random.chance(0.5) ? random.between(1, whole) : whole;
    const offset = PAGE * random.between(0, BUFFER_SIZE / PAGE - pages) + start;
    return { buffer: random.below(BUFFERS), offset, size };
  }

  #link(slot: number, { parts, strict, links }: Range): void {
    const random = this.#random;
    const part = parts[links.length]!;
    const at = parts.slice(0, links.length).reduce((sum, { size }) => sum + size, 0);
    const value = BigInt(at);
    const dir = random.below(3);
    const attrs = strict | (dir === TO_DEVICE && random.chance(0.2) ? SKIP_CPU_SYNC : 0);
    if (at > 0 && random.chance(0.05)) {
      // Only the first part may start inside a page.
      const offset = Math.floor(part.offset / PAGE) * PAGE + random.between(1, PAGE - 1);
      this.#ask({ op: 'iovaLink', slot, buffer: part.buffer, offset, size: 1, value, dir });
    }
    this.#ask({ op: 'fill', ...part, value: BigInt(random.below(2 ** 32)) });
    this.#ask({ op: 'iovaLink', slot, ...part, value, dir, attrs });
    if (random.chance(0.05)) this.#ask({ op: 'iovaLink', slot, ...part, value, dir, attrs });
    const place = { slot, offset: at, size: part.size };
    this.#ask({ op: 'iovaSync', ...place });
    links.push({ part, at, dir, written: false });
    if (dir !== FROM_DEVICE) this.#ask({ op: 'deviceHash', ...place });
  }

  /** The device reads or writes some bytes of a link. */
  #use(slot: number, link: Link): void {
    const random = this.#random;
    const { part, at, dir } = link;
    const from = random.below(part.size);
    const place = { slot, offset: at + from, size: random.between(1, part.size - from) };
    if (dir !== TO_DEVICE) {
      this.#ask({ op: 'deviceWrite', ...place, value: BigInt(random.below(2 ** 32)) });
      link.written = true;
    }
    if (dir !== FROM_DEVICE) this.#ask({ op: 'deviceHash', ...place });
  }

  #unlink(slot: number, { links, strict }: Range): void {
    const { part, at, dir, written } = links.pop()!;
    const attrs = strict | (!written && this.#random.chance(0.2) ? SKIP_CPU_SYNC : 0);
    this.#ask({ op: 'iovaUnlink', slot, offset: at, size: part.size, dir, attrs });
    this.#ask({ op: 'hash', slot, ...part });
  }

  #destroy(slot: number): void {
    const { links, strict } = this.#live.get(slot)!;
    const isEmpty = links.length === 0;
    if (isEmpty && this.#random.chance(0.5)) this.#ask({ op: 'iovaFree', slot });
    else this.#ask({ op: 'iovaDestroy', slot, attrs: strict });
    for (const { part } of links) this.#ask({ op: 'hash', slot, ...part });
    this.#live.delete(slot);
  }
}
