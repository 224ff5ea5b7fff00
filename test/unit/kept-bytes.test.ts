/** Bytes of the CPU's that are compared with what they were, by an object that is used for one mapping after another. */
import { describe, expect, it } from 'vitest';
import { KeptBytes } from '../../lib/debug/kept-bytes.ts';
import { Snapshots } from '../../lib/debug/snapshots.ts';

describe('kept bytes', () => {
  it('are compared with the copy that they were said to have, wherever that lies', () => {
    const memories = [0, 1].map((salt) =>
      Uint8Array.from({ length: 256 }, (_, at) => (at * 7 + salt) & 0xff),
    );
    const snapshots = new Snapshots();
    const kept = new KeptBytes();
    const sizes = [1, 8, 64];
    const places = sizes.flatMap((size) =>
      [0, 64, 1].flatMap((at) => [0, 1].map((memory) => ({ memory, at, size }))),
    );
    const byPlace = [...places].sort((a, b) => a.memory - b.memory || a.size - b.size);
    for (const { memory, at, size } of [...places, ...byPlace, ...places]) {
      const copy = memories[memory]!;
      const source = copy.slice(at, at + size);
      kept.keepBeside(source, copy, at);
      expect(kept.unchanged).toBe(true);
      source[size - 1]! ^= 1;
      expect(kept.unchanged).toBe(false);
      expect(kept.firstChange).toBe(size - 1);
      kept.end(snapshots);
    }
  });

  const ways: [string, (kept: KeptBytes, snapshots: Snapshots, source: Uint8Array) => void][] = [
    ['a copy', (kept, snapshots, source) => kept.keepCopy(source, snapshots.take(source.length))],
    ['their CRC', (kept, _, source) => kept.keepCrc(source)],
  ];

  it.each(ways)('are what they are when they change hands, by %s', (_, keep) => {
    const snapshots = new Snapshots();
    const kept = new KeptBytes();
    for (const size of [100, 64, 100, 1000]) {
      const source = new Uint8Array(size);
      keep(kept, snapshots, source);
      source[3] = 1;
      expect(kept.unchanged).toBe(false);
      kept.renew();
      expect(kept.unchanged).toBe(true);
      source[size - 1] = 2;
      expect(kept.unchanged).toBe(false);
      // Over in the middle of the CPU's turn, and after it was told of: neither is the next one's.
      kept.cpu.add(0, 1);
      expect(kept.unchanged).toBe(true);
      kept.told = true;
      kept.end(snapshots);
      keep(kept, snapshots, source);
      source[0] = 1;
      expect([kept.unchanged, kept.told]).toEqual([false, false]);
      kept.end(snapshots);
      expect(snapshots.used).toBe(0);
    }
  });

  it('are not compared once their buffer is detached', () => {
    const source = new Uint8Array(8).fill(1);
    const kept = new KeptBytes();
    kept.keepCrc(source);
    structuredClone(source.buffer, { transfer: [source.buffer] });
    kept.renew();
    expect(kept.unchanged).toBe(true);
  });
});
