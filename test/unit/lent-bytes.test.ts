/** What changed in bytes that change hands, against looking at each of them. */
import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Entry } from '../../lib/debug/entry.ts';
import { type Changed, LentBytes } from '../../lib/debug/lent-bytes.ts';
import { Snapshots } from '../../lib/debug/snapshots.ts';
import { SplitMix } from '../bench/random.ts';

const ENTRY = {} as Entry;

/** The same, one byte at a time. */
class Reference {
  readonly before: number[];
  readonly written: (number | undefined)[];
  private readonly source: Uint8Array;

  constructor(source: Uint8Array) {
    this.source = source;
    this.before = [...source];
    this.written = source.length > 0 ? new Array(source.length).fill(undefined) : [];
  }

  changesHands(start: number, end: number): void {
    for (let at = start; at < end; at++) {
      this.before[at] = this.source[at]!;
      this.written[at] = undefined;
    }
  }

  changed(start: number, end: number): Changed | undefined {
    const places: number[] = [];
    for (let at = start; at < end; at++) {
      const value = this.source[at];
      if (value !== this.before[at] && value !== this.written[at]) places.push(at);
    }
    if (places.length === 0) return undefined;
    return { start: places[0]!, end: places.at(-1)! + 1, count: places.length };
  }
}

describe('lent bytes', () => {
  it('know what the CPU changed and what the device wrote, in place or not', () => {
    const seed = randomInt(2 ** 31);
    const random = new SplitMix(seed);
    const snapshots = new Snapshots();
    const lent = new LentBytes(snapshots);
    for (let use = 0; use < 300; use++) {
      const size = 1 + random.below(100);
      const source = Uint8Array.from({ length: size }, () => random.below(4));
      const reference = new Reference(source);
      lent.begin(ENTRY, 4096, size, 3, source);
      for (let step = 0; step < 30; step++) {
        const start = random.below(size);
        const end = start + 1 + random.below(size - start);
        const action = random.below(6);
        if (action === 0) lent.lend(start, end);
        if (action === 1) lent.take(start, end);
        if (action < 2) reference.changesHands(start, end);
        if (action === 2) source[start] = random.below(4);
        if (action > 2) {
          const bytes = Uint8Array.from({ length: end - start }, () => random.below(4));
          lent.write(start, bytes);
          for (let at = start; at < end; at++) reference.written[at] = bytes[at - start];
          // In place, behind a copy, or behind a cache that had some of it.
          if (action === 3) source.set(bytes, start);
          if (action === 4) source.set(bytes.subarray(0, bytes.length >> 1), start);
        }
        const where = `seed ${seed}, use ${use}, step ${step}`;
        expect(lent.changed(start, end), where).toEqual(reference.changed(start, end));
        expect(lent.changed(0, size), where).toEqual(reference.changed(0, size));
      }
      lent.end();
    }
    expect(snapshots.used).toBe(0);
  });

  it('begin anew with each thing they are used for', () => {
    const lent = new LentBytes(new Snapshots());
    const shared = new Set<'not-synced-for-cpu'>();
    lent.begin(ENTRY, 0, 8, 3, new Uint8Array(8));
    lent.take(0, 4);
    lent.write(0, new Uint8Array(8).fill(1));
    lent.write(0, new Uint8Array(8).fill(1));
    expect(lent.missed).toBe(true);
    lent.told.add('not-synced-for-cpu');
    lent.end();
    expect([lent.told.size, lent.missed, lent.cpu.empty, lent.unsynced.empty]).toEqual([
      0,
      false,
      true,
      true,
    ]);
    lent.told = shared as typeof lent.told;
    lent.begin(ENTRY, 0, 8, 3, new Uint8Array(8));
    lent.write(0, new Uint8Array(8));
    lent.take(0, 8);
    lent.write(0, new Uint8Array(8));
    lent.write(0, new Uint8Array(8));
    expect(lent.missed).toBe(false);
    lent.end();
    expect(lent.told).not.toBe(shared);
    lent.begin(ENTRY, 0, 8, 3, undefined);
    lent.write(0, new Uint8Array(8));
    expect(lent.missed).toBe(false);
    expect(lent.changed(0, 8)).toBeUndefined();
  });

  it.each([
    ['that the CPU sees at once', true],
    ['behind a cache', false],
  ])('hold what the last of two devices wrote, %s', (_where, atOnce) => {
    const source = new Uint8Array(8);
    const snapshots = new Snapshots();
    const mapping = (): LentBytes => {
      const lent = new LentBytes(snapshots);
      lent.begin(ENTRY, 0, 8, 3, source);
      lent.firstByte = 0;
      lent.inPlaceTo = 8;
      lent.atOnce = atOnce;
      return lent;
    };
    const write = (lent: LentBytes, value: number): void => {
      const bytes = new Uint8Array(8).fill(value);
      lent.write(0, bytes);
      if (atOnce) source.set(bytes);
    };
    const first = mapping();
    write(first, 1);
    const second = mapping();
    second.skips = true;
    second.share(first);
    write(first, 2);
    write(second, 3);
    const third = mapping();
    third.skips = true;
    third.share(first);
    third.share(second);
    // The first is unmapped: the CPU sees the memory.
    first.tellSharers(0, 8);
    source.fill(3);
    first.end();
    for (const lent of [second, third]) expect(lent.changed(0, 8)).toBeUndefined();
    // The CPU still has what it saw then.
    write(second, 5);
    for (const lent of [second, third]) expect(lent.changed(0, 8)).toBeUndefined();
    source[4] = 4;
    for (const lent of [second, third]) expect(lent.changed(0, 8)).toEqual({ start: 4, end: 5, count: 1 });
  });
});

describe('snapshots', () => {
  it('are large enough, nobody else has them, and they are used again', () => {
    const snapshots = new Snapshots();
    const sizes = [1, 63, 64, 65, 1500, 4096, 4097, 2 ** 20];
    const taken = sizes.map((size) => snapshots.take(size));
    for (const [i, snapshot] of taken.entries()) expect(snapshot.length).toBeGreaterThanOrEqual(sizes[i]!);
    expect(new Set(taken.map(({ buffer }) => buffer)).size).toBe(sizes.length);
    expect(snapshots.used).toBe(taken.reduce((sum, { length }) => sum + length, 0));
    const [smallest] = taken;
    for (const snapshot of taken) snapshots.give(snapshot);
    expect(snapshots.used).toBe(0);
    expect(snapshots.take(65)).toBe(taken[3]);
    const again = [snapshots.take(10), snapshots.take(10), snapshots.take(10)];
    expect(again).toContain(smallest);
    expect(snapshots.take(10)).not.toBe(smallest);
  });

  it('are used again for as long as it takes', () => {
    const snapshots = new Snapshots();
    const first = snapshots.take(2 ** 20);
    snapshots.give(first);
    for (let i = 0; i < 10; i++) snapshots.give(snapshots.take(2 ** 20));
    expect(snapshots.take(2 ** 20) === first).toBe(true);
  });

  it('do not pile up: beyond 4 MiB, and of more than 1 MiB, they are let go', () => {
    const snapshots = new Snapshots();
    const large = snapshots.take(2 ** 20 + 1);
    expect([large.length, snapshots.used]).toEqual([2 ** 20 + 1, 0]);
    snapshots.give(large);
    expect(snapshots.take(2 ** 20 + 1) === large).toBe(false);
    const taken = Array.from({ length: 6 }, () => snapshots.take(2 ** 20));
    for (const snapshot of taken) snapshots.give(snapshot);
    const again = Array.from({ length: 6 }, () => snapshots.take(2 ** 20));
    expect(again.filter((snapshot) => taken.includes(snapshot)).length).toBe(4);
  });
});
