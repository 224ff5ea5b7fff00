/** Sequences of register accesses, in every world: one run is the accesses, one after the other. */
import { DmaError, type PciFunction, type RegisterStep } from '../../lib/index.ts';
import { codeOf } from '../failures.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { worlds } from './worlds.ts';

/** Registers of edu (docs/specs/edu.rst of QEMU): an identification, and one that reads back inverted. */
const ID = 0x00;
const LIVENESS = 0x04;

/** What no caller should pass, as a list of steps. */
const BAD_LISTS: readonly unknown[] = [
  undefined,
  'write32',
  { length: 1 },
  [],
  [undefined],
  ['write32'],
  [[]],
  [['writel', LIVENESS, 1]],
  [['toString', LIVENESS]],
  [['read32', LIVENESS, 1]],
  [['write32', LIVENESS, -(2 ** 31) - 1]],
  [['write32', LIVENESS, 2 ** 32]],
  [['write32', LIVENESS, 0.5]],
  [['write32', LIVENESS, '1']],
  [['write32', LIVENESS, 1n]],
  [['write8', LIVENESS, 256]],
  [['write64', LIVENESS + 4, 1]],
  [['write64', LIVENESS + 4, 2n ** 64n]],
  [['write32']],
  [['write32', '4', 1]],
  [['write32', 4n, 1]],
  [['write32', LIVENESS + 2, 1]],
  [['read16', LIVENESS + 1]],
  [['read64', LIVENESS]],
  [['read8', -1]],
  [['read8', Number.NaN]],
  [['read8', 2 ** 40]],
  new Array(70_000).fill(['read32', ID]),
];

for (const world of worlds) {
  describe(`a sequence of accesses on ${world.name}`, () => {
    let fn: PciFunction;
    beforeEach(async () => {
      fn = await world.open();
    });
    afterEach(() => fn.close());

    it('writes and reads in the order of its steps, as often as it runs', () => {
      const sequence = fn.bar(0).sequence([
        ['write32', LIVENESS, 0x1234_5678],
        ['read32', LIVENESS],
        ['write32', LIVENESS],
        ['read32', LIVENESS],
        ['read32', ID],
      ]);
      assert.equal(sequence.length, 5);
      assert.equal(sequence.get(1), 0, 'nothing is read before it runs');
      assert.equal(sequence.done, 0);
      for (const value of [0, 1, 0x8000_0000, 0xffff_ffff, -2, 1 << 31]) {
        sequence.set(2, value);
        sequence.run();
        assert.equal(sequence.get(0), 0x1234_5678);
        assert.equal(sequence.get(1), 0xedcb_a987);
        assert.equal(sequence.get(2), value >>> 0);
        assert.equal(sequence.get(3), ~value >>> 0);
        assert.equal(sequence.get(4), fn.bar(0).read32(ID));
        assert.equal(sequence.done, 5);
      }
      assert.equal(fn.bar(0).read32(LIVENESS), ~(1 << 31) >>> 0);
    });

    it('copies the list', () => {
      const steps: [RegisterStep] = [['write32', LIVENESS, 5]];
      const sequence = fn.bar(0).sequence(steps);
      steps[0] = ['write32', LIVENESS, 6];
      sequence.run();
      assert.equal(fn.bar(0).read32(LIVENESS), ~5 >>> 0);
    });

    it('is refused as a whole when a step cannot be right, and nothing is written', () => {
      fn.bar(0).write32(LIVENESS, 7);
      for (const list of BAD_LISTS) {
        const mixed = Array.isArray(list) && list.length > 0 ? [['write32', LIVENESS, 8], ...list] : list;
        assert.equal(
          codeOf(() => fn.bar(0).sequence(mixed as RegisterStep[])),
          'EINVAL',
          JSON.stringify(list, (_, value) => (typeof value === 'bigint' ? `${value}n` : value))?.slice(0, 80),
        );
      }
      assert.equal(fn.bar(0).read32(LIVENESS), ~7 >>> 0);
    });

    it('takes only values that fit, of writes that it has', () => {
      const sequence = fn.bar(0).sequence([
        ['read32', ID],
        ['write8', LIVENESS],
        ['write32', LIVENESS, 3],
        ['write64', 0x80, 4n],
      ]);
      const bad = <T>(...values: unknown[]) => values as T[];
      for (const index of bad<number>(-1, 4, 0.5, Number.NaN, undefined, '2', 2n, null, {})) {
        for (const call of ['get', 'get64'] as const)
          assert.equal(
            codeOf(() => sequence[call](index)),
            'EINVAL',
          );
        assert.equal(
          codeOf(() => sequence.set(index, 1)),
          'EINVAL',
        );
        assert.equal(
          codeOf(() => sequence.set64(index, 1n)),
          'EINVAL',
        );
      }
      for (const value of bad<number>(
        2 ** 32,
        -(2 ** 31) - 1,
        0.5,
        Number.NaN,
        undefined,
        '1',
        1n,
        null,
        {},
      )) {
        assert.equal(
          codeOf(() => sequence.set(2, value)),
          'EINVAL',
          String(value),
        );
      }
      assert.equal(
        codeOf(() => sequence.set(1, 256)),
        'EINVAL',
      );
      assert.equal(
        codeOf(() => sequence.set(0, 1)),
        'EINVAL',
        'a read',
      );
      assert.equal(
        codeOf(() => sequence.set(3, 1)),
        'EINVAL',
        'a write of 64 bits',
      );
      assert.equal(
        codeOf(() => sequence.set64(2, 1n)),
        'EINVAL',
        'a write of 32 bits',
      );
      assert.equal(
        codeOf(() => sequence.set64(3, 2n ** 64n)),
        'EINVAL',
      );
      assert.equal(
        codeOf(() => sequence.get(3)),
        'EINVAL',
      );
      assert.equal(
        codeOf(() => sequence.get64(2)),
        'EINVAL',
      );
      sequence.set(1, -1);
      sequence.set64(3, -1n);
      assert.deepEqual(
        [sequence.get(0), sequence.get(1), sequence.get(2), sequence.get64(3)],
        [0, 255, 3, 2n ** 64n - 1n],
      );
    });

    it('takes only values that fit, of 32-bit writes before another one', () => {
      const sequence = fn.bar(0).sequence([
        ['write32', LIVENESS, 1],
        ['write32', LIVENESS, 2],
        ['write8', LIVENESS, 3],
      ]);
      for (const index of [-1, 3, 0.5, 1.5, Number.NaN, undefined, '1', 1n, null] as number[])
        assert.equal(
          codeOf(() => sequence.set(index, 1)),
          'EINVAL',
          String(index),
        );
      for (const value of [2 ** 32, -(2 ** 31) - 1, 0.5, Number.NaN, undefined, '1', 1n, null] as number[])
        assert.equal(
          codeOf(() => sequence.set(1, value)),
          'EINVAL',
          String(value),
        );
      assert.equal(
        codeOf(() => sequence.set(2, 256)),
        'EINVAL',
      );
      assert.deepEqual([sequence.get(0), sequence.get(1), sequence.get(2)], [1, 2, 3]);
      sequence.set(0, 2 ** 32 - 1);
      sequence.set(1, -1);
      assert.deepEqual([sequence.get(0), sequence.get(1), sequence.get(2)], [2 ** 32 - 1, 2 ** 32 - 1, 3]);
    });

    it('stops at the first access that fails, and says which one it was', () => {
      const bar = fn.bar(0);
      const sequence = bar.sequence([
        ['write32', LIVENESS, 1],
        ['read32', LIVENESS],
      ]);
      sequence.run();
      fn.close();
      assert.throws(
        () => sequence.run(),
        (error: DmaError) => {
          assert.ok(error instanceof DmaError && error.code === 'ENODEV', String(error));
          assert.match(error.message, /^step 0 of 2 \(write32\): 32-bit access at offset 0x4 of BAR 0/);
          return true;
        },
      );
      assert.equal(sequence.done, 0);
      assert.equal(
        codeOf(() => bar.sequence([['read32', ID]])),
        'ENODEV',
      );
    });
  });
}
