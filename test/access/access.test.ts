/**
 * Every register access is one access of its width and direction, when its call site is cold and when V8 has
 * optimised it. The pages are made inaccessible and each touch is caught and single-stepped (access_probe.cc).
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Addon } from '../../lib/native/addon.ts';
import { assert, it } from '../harness.ts';
import { mmioOf } from '../native/mmio-calls.ts';
import { describeNative, probePath } from '../native/support.ts';

interface Probe {
  /** Catch every access to the buffer, whole pages, from here on. */
  arm(buffer: ArrayBuffer): void;
  /** The accesses since, in order: `R32@64` is a 32-bit read at offset 64. */
  disarm(): string[];
}

const SIZE = 4096;
const HOT = 100_000;

function open(addon: Addon) {
  const region = addon.regionCreate(SIZE, false);
  const buffer = addon.regionCarve(region, 0, SIZE) as ArrayBuffer;
  return { buffer, window: addon.testing.windowFromRegion(region, 0, SIZE, 0, 0) };
}

function unless(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'single stepping is for Linux x64';
  return existsSync(probePath) ? undefined : 'the access probe is not built';
}

describeNative(
  'register access',
  (addon) => {
    const mmio = mmioOf(addon);
    const probe = createRequire(import.meta.url)(probePath) as Probe;
    const { buffer, window } = open(addon);

    const caught = (access: () => unknown): string[] => {
      probe.arm(buffer);
      access();
      return probe.disarm();
    };

    const accessors: [string, () => unknown][] = [
      ['R8@65', () => mmio.mmioRead8(window, 65)],
      ['R16@66', () => mmio.mmioRead16(window, 66)],
      ['R32@68', () => mmio.mmioRead32(window, 68)],
      ['R64@72', () => mmio.mmioRead64(window, 72)],
      ['W8@65', () => mmio.mmioWrite8(window, 65, 0x81)],
      ['W16@66', () => mmio.mmioWrite16(window, 66, 0x8001)],
      ['W32@68', () => mmio.mmioWrite32(window, 68, 0x80000001)],
      ['W64@72', () => mmio.mmioWrite64(window, 72, 0x8000000000000001n)],
    ];

    for (const [expected, access] of accessors) {
      it(`${expected} is exactly that, cold and hot`, () => {
        assert.deepEqual(caught(access), [expected]);
        for (let i = 0; i < HOT; i++) access();
        assert.deepEqual(caught(access), [expected]);
      });
    }

    it('drops, merges and reorders nothing when results are unused or repeated', () => {
      const sequence = () => {
        mmio.mmioWrite32(window, 8, 1);
        mmio.mmioRead32(window, 0); // unused: flushes the write
        mmio.mmioWrite32(window, 8, 1);
        mmio.mmioWrite32(window, 8, 1);
        const high = mmio.mmioRead32(window, 4);
        const low = mmio.mmioRead32(window, 0);
        return mmio.mmioRead32(window, 4) === high && (low & 1) === 1;
      };
      const expected = ['W32@8', 'R32@0', 'W32@8', 'W32@8', 'R32@4', 'R32@0', 'R32@4'];
      assert.deepEqual(caught(sequence), expected);
      for (let i = 0; i < HOT; i++) sequence();
      assert.deepEqual(caught(sequence), expected);
    });

    it('that is refused touches nothing', () => {
      assert.deepEqual(
        caught(() => mmio.mmioRead32(window, 2)),
        [],
      );
      assert.deepEqual(
        caught(() => mmio.mmioWrite32(window, SIZE, 1)),
        [],
      );
    });

    it('is seen by the probe when it is not one access', () => {
      const view = new Uint32Array(buffer);
      const seen = caught(() => {
        view[1]! |= 1;
      });
      assert.deepEqual(seen, ['R32@4', 'W32@4']);
      const exchange = caught(() => Atomics.store(view, 2, 1));
      assert.ok(exchange.length !== 1 || exchange[0]!.startsWith('W?@8'), exchange.join());
    });
  },
  unless(),
);
