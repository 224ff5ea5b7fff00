/**
 * A driver at random, as requests. It does not know how they are answered: it takes every mapping to succeed, and the
 * comparison (compare.ts) leaves out what follows from one that did not.
 *
 * Where memory is mapped in place, bytes are compared only where the DMA API says who owns them: after a sync, and
 * after unmap. Where everything is bounced, both sides have copies, and bytes are compared at any time. CPU and device
 * then write what they do not own, too, so that it shows which bytes each sync copies.
 */
import { DMA_ATTR } from '../../lib/index.ts';
import { Random } from '../random.ts';
import { IovaSequence } from './iova-sequence.ts';
import { Live } from './live.ts';
import { cut } from './parts.ts';
import { PoolSequence } from './pool-sequence.ts';
import { BUFFER_SIZE, BUFFERS, type Operation, type Part, type Request } from './protocol.ts';
import { ResourceSequence } from './resource-sequence.ts';
import type { Setting } from './settings.ts';

const TO_DEVICE = 1;
const FROM_DEVICE = 2;
const { SKIP_CPU_SYNC, REQUIRE_COHERENT } = DMA_ATTR;
const PAGE = 4096;

/** The slots of each kind. */
const FIRST_LIST = 64;
const FIRST_MEMORY = 128;
const SLOTS_OF_A_KIND = 32;

export class Sequence {
  readonly #random: Random;
  readonly #setting: Setting;
  readonly #mappings = new Live(0, SLOTS_OF_A_KIND);
  readonly #lists = new Live(FIRST_LIST, SLOTS_OF_A_KIND);
  readonly #memory = new Live(FIRST_MEMORY, SLOTS_OF_A_KIND);
  readonly #pools: PoolSequence;
  readonly #resources: ResourceSequence;
  readonly #iova: IovaSequence;
  #requests: Request[] = [];

  constructor(seed: number, setting: Setting) {
    this.#random = new Random(seed);
    this.#setting = setting;
    const ask = (request: Request) => this.#ask(request);
    this.#pools = new PoolSequence(this.#random, ask);
    this.#resources = new ResourceSequence(this.#random, ask);
    this.#iova = new IovaSequence(this.#random, ask, (part) => !this.#isMapped(part));
  }

  /** The next requests, `count` or a few more. */
  next(count: number): readonly Request[] {
    this.#requests = [];
    while (this.#requests.length < count) this.#act();
    return this.#requests;
  }

  /** The requests that every sequence begins with. The kernel keeps limits when the driver goes. */
  begin(): readonly Request[] {
    const value = (1n << BigInt(this.#setting.bits)) - 1n;
    return [
      { op: 'setMask', value },
      { op: 'setCoherentMask', value },
      { op: 'setLimits', size: 65_536, value: 0xffff_ffffn, offset: 0 },
    ];
  }

  /** The requests that end everything. */
  end(): readonly Request[] {
    this.#requests = [];
    this.#endMappings();
    for (const slot of [...this.#memory.slots]) this.#free(slot);
    this.#pools.end();
    this.#resources.end();
    this.#iova.end();
    return this.#requests;
  }

  #act(): void {
    const random = this.#random;
    const choice = random.below(1000);
    if (choice < 4) this.#setLimits();
    else if (choice < 8) this.#setMasks();
    else if (choice < 16) this.#ask({ op: 'readLimits' });
    else if (choice < 240) this.#map();
    else if (choice < 420) this.#use(this.#mappings);
    else if (choice < 560) this.#mapList();
    else if (choice < 660) this.#use(this.#lists);
    else if (choice < 720) this.#allocate();
    else if (choice < 760) this.#resources.act();
    else if (choice < 840) this.#iova.act();
    else this.#pools.act();
  }

  #ask(request: Request): void {
    this.#requests.push(request);
  }

  #setMasks(): void {
    const { bits, translated } = this.#setting;
    const random = this.#random;
    // Under narrower masks the two allocators would run out of addresses at different times.
    const narrowest = bits < 32 ? 25 : translated ? 30 : 16;
    for (const op of ['setMask', 'setCoherentMask'] as const) {
      const width = random.chance(0.3) ? bits : random.between(narrowest, bits);
      this.#ask({ op, value: (1n << BigInt(width)) - 1n });
    }
  }

  #endMappings(): void {
    for (const slot of [...this.#mappings.slots]) this.#unmap(slot);
    for (const slot of [...this.#lists.slots]) this.#unmapList(slot);
  }

  /** Without live mappings: swiotlb reads the minimum alignment mask again when it syncs. */
  #setLimits(): void {
    const random = this.#random;
    this.#endMappings();
    const size = random.chance(0.5)
      ? 65_536
      : random.pick([512, 4096, 8192, 12_288, 20_000, 131_072, 2 ** 20]);
    const boundary = random.chance(0.5) ? 32 : random.between(random.chance(0.2) ? 9 : 12, 20);
    // Behind an IOMMU the kernel fails every mapping when the mask goes beyond the page.
    const most = this.#setting.translated ? 12 : 16;
    const align = random.chance(0.6) ? 0 : 2 ** random.between(1, most) - 1;
    this.#ask({ op: 'setLimits', size, value: (1n << BigInt(boundary)) - 1n, offset: align });
  }

  /** A part of a buffer that no live mapping has, or undefined if there is none by chance. */
  #part(most: number, style: number): Part | undefined {
    const random = this.#random;
    const pages = style > 0.5;
    const size = pages ? PAGE * random.between(1, Math.max(1, most / PAGE)) : random.between(1, most);
    const room = BUFFER_SIZE - size;
    const offset = pages ? PAGE * random.between(0, room / PAGE) : random.between(0, room);
    const part = { buffer: random.below(BUFFERS), offset, size };
    return this.#isMapped(part) || this.#iova.overlaps(part) ? undefined : part;
  }

  /** Whether a mapping or a list has a byte of the part. */
  #isMapped(part: Part): boolean {
    return this.#mappings.overlaps(part) || this.#lists.overlaps(part);
  }

  #sizes(): number {
    const choice = this.#random.below(100);
    if (choice < 60) return 2048;
    if (choice < 90) return 9000;
    return choice < 99 ? 40_000 : 300_000;
  }

  #attributes(): number {
    const choice = this.#random.below(100);
    return choice < 5 ? SKIP_CPU_SYNC : choice < 10 ? REQUIRE_COHERENT : 0;
  }

  #map(): void {
    const random = this.#random;
    const slot = this.#mappings.free(random);
    const part = this.#part(this.#sizes(), random.below(100) / 100);
    if (slot === undefined || part === undefined) return;
    const dir = random.below(3);
    const attrs = this.#attributes();
    this.#ask({ op: 'fill', ...part, value: seedOf(random) });
    this.#ask({ op: 'map', slot, ...part, dir, attrs, arg: random.below(2) });
    this.#mappings.add({ slot, dir, attrs, parts: [part], written: false });
    if (dir !== FROM_DEVICE) this.#ask({ op: 'deviceHash', slot, offset: 0, size: part.size });
  }

  #mapList(): void {
    const random = this.#random;
    const slot = this.#lists.free(random);
    if (slot === undefined) return;
    const parts: Part[] = [];
    const count = random.chance(0.97) ? random.between(1, 8) : random.between(9, 40);
    const style = random.below(100) / 100;
    for (let i = 0; i < count; i++) {
      const most = random.chance(0.98) ? 12_288 : 80_000;
      // All of pages, all of anything, or some of both.
      const part = this.#part(most, style < 0.4 ? 1 : style < 0.5 ? 0 : random.below(100) / 100);
      if (part !== undefined && !parts.some((other) => Live.meet(part, other))) parts.push(part);
    }
    if (parts.length === 0) return;
    const dir = random.below(3);
    const attrs = this.#attributes();
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    for (const part of parts) this.#ask({ op: 'fill', ...part, value: seedOf(random) });
    this.#ask({ op: 'mapList', slot, parts, dir, attrs });
    this.#lists.add({ slot, dir, attrs, parts, written: false });
    if (dir !== FROM_DEVICE) this.#ask({ op: 'deviceHash', slot, offset: 0, size });
  }

  /** The device, a sync or the CPU uses a mapping or a list, or it ends. */
  #use(kind: Live): void {
    const random = this.#random;
    const slot = kind.any(random);
    if (slot === undefined) return;
    const single = kind === this.#mappings;
    if (random.chance(0.4)) {
      if (single) this.#unmap(slot);
      else this.#unmapList(slot);
    } else if (this.#setting.forced) this.#meddle(kind, slot);
    else this.#takeTurns(kind, slot);
  }

  #range(size: number): { offset: number; size: number } {
    const random = this.#random;
    const offset = random.chance(0.3) ? 0 : random.below(size);
    const most = size - offset;
    return { offset, size: random.chance(0.3) ? most : random.between(1, most) };
  }

  /** As a driver does: what the device wrote is synced before it is read, what the CPU writes is synced after it. */
  #takeTurns(kind: Live, slot: number): void {
    const random = this.#random;
    const { dir, parts, size } = kind.get(slot);
    const single = kind === this.#mappings;
    const range = single ? this.#range(size) : { offset: 0, size };
    if (dir !== TO_DEVICE) {
      this.#ask({ op: 'deviceWrite', slot, ...range, value: seedOf(random) });
      kind.write(slot);
    }
    this.#sync(kind, slot, 'Cpu', range);
    this.#hash(slot, parts, range);
    if (dir === FROM_DEVICE) return;
    this.#fill(slot, parts, range);
    this.#sync(kind, slot, 'Device', range);
    this.#ask({ op: 'deviceHash', slot, ...range });
  }

  /** Whatever the copies show: nobody keeps to the rules. */
  #meddle(kind: Live, slot: number): void {
    const random = this.#random;
    const { parts, size } = kind.get(slot);
    const whole = { offset: 0, size };
    for (let i = random.between(1, 3); i > 0; i--) {
      if (random.chance(0.5)) this.#fill(slot, parts, this.#range(size));
      if (random.chance(0.5))
        this.#ask({ op: 'deviceWrite', slot, ...this.#range(size), value: seedOf(random) });
      const range = kind === this.#mappings ? this.#range(size) : whole;
      this.#sync(kind, slot, random.pick(['Cpu', 'Device'] as const), range);
    }
    this.#hash(slot, parts, whole);
    this.#ask({ op: 'deviceHash', slot, ...whole });
  }

  #sync(kind: Live, slot: number, side: 'Cpu' | 'Device', range: { offset: number; size: number }): void {
    if (kind === this.#lists) this.#ask({ op: `syncListFor${side}`, slot });
    else this.#ask({ op: `syncFor${side}`, slot, ...range });
  }

  #hash(slot: number, parts: readonly Part[], range: { offset: number; size: number }): void {
    for (const part of cut(parts, range)) this.#ask({ op: 'hash', slot, ...part });
  }

  #fill(slot: number, parts: readonly Part[], range: { offset: number; size: number }): void {
    for (const part of cut(parts, range))
      this.#ask({ op: 'fill', slot, ...part, value: seedOf(this.#random) });
  }

  #unmap(slot: number): void {
    this.#finish('unmap', this.#mappings, slot);
  }

  #unmapList(slot: number): void {
    this.#finish('unmapList', this.#lists, slot);
  }

  #finish(op: Operation, kind: Live, slot: number): void {
    const { parts, size, written, attrs } = kind.get(slot);
    const skips = this.#random.chance(0.1) && (this.#setting.forced || !written);
    // SKIP_CPU_SYNC may differ from that of the mapping, REQUIRE_COHERENT may not.
    this.#ask({ op, slot, attrs: (attrs & REQUIRE_COHERENT) | (skips ? SKIP_CPU_SYNC : 0) });
    this.#hash(slot, parts, { offset: 0, size });
    kind.remove(slot);
  }

  #allocate(): void {
    const random = this.#random;
    const slot = this.#memory.free(random);
    if (slot === undefined || random.chance(0.45)) {
      const old = this.#memory.any(random);
      if (old !== undefined) this.#free(old);
      return;
    }
    const size = random.between(1, random.chance(0.8) ? 20_000 : 400_000);
    this.#ask({ op: 'alloc', slot, size, dir: random.below(3), arg: random.below(3) });
    this.#memory.add({ slot, dir: 0, attrs: 0, parts: [], written: false });
  }

  #free(slot: number): void {
    this.#ask({ op: 'free', slot });
    this.#memory.remove(slot);
  }
}

/** What bytes are made from (bytes.ts). */
function seedOf(random: Random): bigint {
  return BigInt(random.below(2 ** 32));
}
