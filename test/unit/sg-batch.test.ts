/** Syncing a list in one call must do what syncing it one by one does. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { CacheMaintenance } from '../../lib/cache.ts';
import { CopyList, type CopyMany } from '../../lib/dma/bounce/copy-list.ts';
import type { DmaDirection, SgMapping } from '../../lib/index.ts';
import { expectCode } from './sim-fixture.ts';
import { detach, expectBytes, PAGE, pattern, type World, world } from './streaming-fixture.ts';

/** Calls that copied. */
let calls = 0;

/** As the native one: all or nothing. */
const copyMany: CopyMany = (copies, count, ...buffers) => {
  const jobs = Array.from({ length: count }, (_, i) => {
    const [to, toOffset, from, fromOffset, size] = copies.subarray(i * 5, i * 5 + 5);
    return {
      to: buffers[to!]!,
      toOffset: toOffset!,
      from: buffers[from!]!,
      fromOffset: fromOffset!,
      size: size!,
    };
  });
  const fits = (buffer: ArrayBufferLike | undefined, end: number) => end <= (buffer?.byteLength ?? 0);
  for (const { to, toOffset, from, fromOffset, size } of jobs) {
    if (!fits(to, toOffset + size) || !fits(from, fromOffset + size)) return -22;
  }
  for (const { to, toOffset, from, fromOffset, size } of jobs) {
    new Uint8Array(to, toOffset, size).set(new Uint8Array(from, fromOffset, size));
  }
  calls++;
  return 0;
};

const bouncing = { copybreak: Number.POSITIVE_INFINITY };

/** `count` pieces of one buffer with gaps between them. */
function pieces(count: number, size: number): Uint8Array[] {
  const { buffer } = pattern(count * (size + 24) + 8);
  return Array.from({ length: count }, (_, i) => new Uint8Array(buffer, 8 + i * (size + 24), size));
}

/** Writes to every segment as the device, differently in each round. */
function deviceWrites({ space }: World, mapping: SgMapping, round: number): void {
  mapping.segments.forEach(({ dmaAddress, length }, i) => {
    space.write(dmaAddress, pattern(length, 100 * round + i));
  });
}

function bytesOf(list: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(list.map(({ buffer }) => new Uint8Array(buffer))));
}

beforeEach(() => {
  calls = 0;
});

describe('a list of copies', () => {
  it('has place for six buffers, and copies from and to all of them', () => {
    const buffers = Array.from({ length: 6 }, (_, i) => pattern(16, i));
    const list = new CopyList();
    for (const i of [0, 2, 4]) {
      expect(list.add(buffers[i]!.buffer, 4, buffers[i + 1]!.buffer, 8, 3)).toBe(true);
    }
    const seventh = pattern(16, 9);
    expect(list.add(buffers[0]!.buffer, 0, seventh.buffer, 0, 1)).toBe(false);
    expect(list.add(seventh.buffer, 0, buffers[0]!.buffer, 0, 1)).toBe(false);
    expect(list.add(buffers[5]!.buffer, 0, buffers[0]!.buffer, 15, 1)).toBe(true);
    expect(list.bytes).toBe(10);
    expect(list.run(copyMany)).toBe(true);
    for (const i of [0, 2, 4]) {
      expectBytes(buffers[i]!.subarray(4, 7), pattern(16, i + 1).subarray(8, 11));
    }
    expect(buffers[5]![0]).toBe(pattern(16, 0)[15]);
    expectBytes(seventh, pattern(16, 9));
    list.clear();
    expect(list.add(seventh.buffer, 0, buffers[0]!.buffer, 0, 1)).toBe(true);
  });
});

describe('a list synced at once', () => {
  const directions: readonly DmaDirection[] = ['to-device', 'from-device', 'bidirectional'];

  for (const direction of directions) {
    it(`${direction}: bytes and statistics are those of a list synced one by one`, () => {
      const run = (options: object) => {
        const one = world({ ...bouncing, ...options });
        const list = pieces(70, 256);
        const mapping = one.dma.mapSg(list, direction);
        const seen: Uint8Array[] = [];
        for (let round = 0; round < 4; round++) {
          deviceWrites(one, mapping, round);
          mapping.syncForCpu();
          seen.push(bytesOf(list));
          list.forEach((view, i) => void view.set(pattern(256, 50 * round + i)));
          mapping.syncForDevice();
          seen.push(...mapping.segments.map(({ dmaAddress }) => one.deviceReads(dmaAddress, 256)));
        }
        mapping.unmap();
        return { seen, last: bytesOf(list), stats: one.dma.bounceStats };
      };
      const plain = run({});
      expect(calls).toBe(0);
      const batched = run({ copyMany });
      expect(calls).toBe(direction === 'bidirectional' ? 6 : 3);
      expectBytes(batched.last, plain.last);
      batched.seen.forEach((bytes, i) => void expectBytes(bytes, plain.seen[i]!));
      expect(batched.stats).toEqual(plain.stats);
    });
  }

  it('is done with any sizes, offsets and buffers', () => {
    const element = fc.record({ buffer: fc.nat(5), size: fc.integer({ min: 1, max: 1500 }) });
    fc.assert(
      fc.property(
        fc.array(element, { minLength: 1, maxLength: 80, size: 'max' }),
        fc.boolean(),
        (elements, forced) => {
          const run = (options: object) => {
            const one = world({ ...bouncing, bounce: { force: forced }, ...options });
            const own = one.dma.allocCoherent(80 * 1500).bytes;
            const buffers = [own, ...Array.from({ length: 5 }, () => new Uint8Array(80 * 1500))];
            const used = buffers.map(() => 0);
            const list = elements.map(({ buffer, size }) => {
              const start = used[buffer]!;
              used[buffer] = start + size;
              return buffers[buffer]!.subarray(start, start + size);
            });
            const mapping = one.dma.mapSg(list, 'bidirectional');
            for (let round = 0; round < 3; round++) {
              deviceWrites(one, mapping, round);
              mapping.syncForCpu();
              list.forEach((view, i) => void view.fill(round + i, 0, view.length >> 1));
              mapping.syncForDevice();
            }
            const device = mapping.segments.map(({ dmaAddress, length }) =>
              one.deviceReads(dmaAddress, length),
            );
            return { bytes: new Uint8Array(Buffer.concat([...list, ...device])), stats: one.dma.bounceStats };
          };
          const plain = run({});
          const batched = run({ copyMany });
          expectBytes(batched.bytes, plain.bytes);
          expect(batched.stats).toEqual(plain.stats);
        },
      ),
      { numRuns: 30 },
    );
    expect(calls).toBeGreaterThan(0);
  });

  it('falls back to one by one when a buffer was detached', () => {
    const one = world({ ...bouncing, copyMany });
    const lost = pattern(64);
    const list = [...pieces(20, 64), lost];
    const mapping = one.dma.mapSg(list, 'bidirectional');
    for (let i = 0; i < 3; i++) mapping.syncForCpu();
    expect(calls).toBe(2);
    detach(lost.buffer);
    deviceWrites(one, mapping, 9);
    expectCode('EINVAL', () => mapping.syncForCpu());
    expectBytes(list[19]!, pattern(64, 919));
    expectCode('EINVAL', () => mapping.syncForDevice());
    expectCode('EINVAL', () => mapping.unmap());
    expect(one.dma.bounceStats.usedSlots).toBe(0);
  });

  it('starts afresh with the next list of a recycled handle', () => {
    const { dma, ...one } = world({ ...bouncing, copyMany });
    const seen = new Set<SgMapping>();
    for (let i = 0; i < 1100; i++) {
      const list = pieces(12, 16);
      const mapping = dma.mapSg(list, 'from-device');
      seen.add(mapping);
      for (let round = 0; round < 2; round++) {
        deviceWrites({ dma, ...one }, mapping, round);
        mapping.syncForCpu();
      }
      expectBytes(list[11]!, pattern(16, 111));
      mapping.unmap();
    }
    expect(seen.size).toBeLessThan(1100);
    expect(calls).toBe(1100);
  });

  it('is left alone where it would not pay or cannot be', () => {
    const sync = (list: Uint8Array[], options: object) => {
      const mapping = world({ copyMany, ...options }).dma.mapSg(list, 'bidirectional');
      for (let i = 0; i < 3; i++) mapping.syncForCpu();
      return calls;
    };
    expect(sync(pieces(11, 64), bouncing)).toBe(0);
    expect(sync(pieces(16, 2048), bouncing)).toBe(0);
    expect(
      sync(
        Array.from({ length: 16 }, () => pattern(64)),
        bouncing,
      ),
    ).toBe(0);
    // Pinned, with edges that are copied.
    const edges = [...pieces(64, 64), new Uint8Array(PAGE * 4).subarray(1, 2 * PAGE)];
    expect(sync(edges, { copybreak: PAGE })).toBe(0);
    const cache: CacheMaintenance = { lineSize: 64, syncForCpu() {}, syncForDevice() {} };
    expect(sync(pieces(16, 64), { ...bouncing, cache })).toBe(0);
    expect(sync(pieces(12, 64), bouncing)).toBe(2);
  });
});
