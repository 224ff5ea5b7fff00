/** Copies in bulk: the right bytes, and nothing at all when anything is wrong. */
import fc from 'fast-check';
import { assert, it } from '../harness.ts';
import { describeNative, runScript } from './support.ts';

const EINVAL = -22;

/** Target buffer and offset, source buffer and offset, bytes. */
type Copy = readonly [number, number, number, number, number];

const list = (...copies: Copy[]): Uint32Array => Uint32Array.from(copies.flat());

function detached(size: number): ArrayBuffer {
  const buffer = new ArrayBuffer(size);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
}

describeNative('copyBatch', (addon) => {
  it('copies what a list of copies says, in order', () => {
    const bytes = fc.uint8Array({ minLength: 64, maxLength: 64 });
    const copy = fc
      .tuple(fc.nat(5), fc.nat(63), fc.nat(5), fc.nat(63), fc.integer({ min: 1, max: 64 }))
      .map(([to, toOffset, from, fromOffset, size]): Copy => {
        return [to, toOffset, from, fromOffset, Math.min(size, 64 - toOffset, 64 - fromOffset)];
      });
    const buffers = fc.array(bytes, { minLength: 6, maxLength: 6 });
    fc.assert(
      fc.property(buffers, fc.array(copy, { maxLength: 150 }), (start, copies) => {
        const expected = start.map((one) => one.slice());
        for (const [to, toOffset, from, fromOffset, size] of copies) {
          expected[to]!.set(expected[from]!.slice(fromOffset, fromOffset + size), toOffset);
        }
        const actual = start.map((one) => one.slice());
        const given = actual.map(({ buffer }) => buffer);
        assert.equal(addon.copyBatch(list(...copies), copies.length, ...given), 0);
        assert.deepEqual(actual, expected);
      }),
    );
  });

  it('copies no more than it is told to, and needs no buffer for nothing', () => {
    const [to, from] = [new Uint8Array(4), Uint8Array.of(1, 2, 3, 4)];
    const copies = list([0, 0, 1, 0, 1], [0, 1, 1, 1, 1], [0, 2, 1, 2, 1]);
    assert.equal(addon.copyBatch(copies, 2, to.buffer, from.buffer), 0);
    assert.deepEqual([...to], [1, 2, 0, 0]);
    assert.equal(addon.copyBatch(copies, 0), 0);
  });

  it('refuses a huge list, and takes no memory for it', () => {
    const script = `
      const before = process.memoryUsage.rss();
      const results = [2 ** 20 + 1, 2 ** 24, 2 ** 28].map((count) => {
        const copies = new Uint32Array(count * 5 <= 2 ** 32 ? Math.min(count * 5, 2 ** 30) : 2 ** 30);
        return addon.copyBatch(copies, Math.floor(copies.length / 5), new ArrayBuffer(8));
      });
      console.log(...results, process.memoryUsage.rss() - before < 2 ** 26);`;
    assert.equal(runScript(script).stdout, '-22 -22 -22 true\n');
  });

  it('reaches both ends of a buffer and not a byte more', () => {
    const [to, from] = [new Uint8Array(8), new Uint8Array(8).fill(1)];
    const run = (...copy: Copy) => addon.copyBatch(list(copy), 1, to.buffer, from.buffer);
    assert.equal(run(0, 0, 1, 0, 8), 0);
    assert.equal(run(0, 7, 1, 7, 1), 0);
    for (const [toOffset, fromOffset, size] of [
      [0, 0, 9],
      [8, 0, 1],
      [0, 8, 1],
      [7, 0, 2],
      [0, 7, 2],
      [2 ** 32 - 1, 0, 1],
      [0, 2 ** 32 - 1, 1],
      [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1],
      [0, 0, 2 ** 32 - 1],
      [1, 1, 2 ** 32 - 1],
      [0, 0, 0],
    ] as const) {
      assert.equal(run(0, toOffset, 1, fromOffset, size), EINVAL, `${toOffset} ${fromOffset} ${size}`);
    }
  });

  it('moves nothing when any of the copies is wrong', () => {
    const good: Copy = [0, 0, 1, 0, 4];
    const from = new Uint8Array(8).fill(1);
    const wrong: [string, Copy, ...(ArrayBufferLike | undefined)[]][] = [
      ['too long', [0, 6, 1, 0, 3]],
      ['no such buffer', [6, 0, 1, 0, 1]],
      ['far beyond the buffers', [2 ** 32 - 1, 0, 1, 0, 1]],
      ['a missing target', [2, 0, 1, 0, 1]],
      ['a missing source', [0, 0, 5, 0, 1]],
      ['a detached buffer', [0, 0, 2, 0, 1], detached(8)],
      ['a shared buffer', [0, 0, 2, 0, 1], new SharedArrayBuffer(8)],
      ['an empty buffer', [0, 0, 2, 0, 1], new ArrayBuffer(0)],
      ['a buffer after a gap', [0, 0, 3, 0, 1], undefined, new ArrayBuffer(8)],
      ['a view', [0, 0, 2, 0, 1], new Uint8Array(8) as unknown as ArrayBuffer],
    ];
    for (const [what, copy, ...more] of wrong) {
      const to = new Uint8Array(8);
      const result = addon.copyBatch(list(good, copy), 2, to.buffer, from.buffer, ...more);
      assert.equal(result, EINVAL, what);
      assert.deepEqual(to, new Uint8Array(8), what);
    }
  });

  it('refuses what is no list or no count', () => {
    const buffer = new ArrayBuffer(8);
    const copies = list([0, 0, 0, 4, 4]);
    const lists = [
      undefined,
      null,
      [0, 0, 0, 4, 4],
      new Float64Array(5),
      new Int32Array(5),
      copies.buffer,
      {},
    ];
    for (const wrong of lists) assert.equal(addon.copyBatch(wrong as Uint32Array, 1, buffer), EINVAL);
    for (const count of [-1, 2, 0.5, Number.NaN, 2 ** 53, '1', undefined]) {
      assert.equal(addon.copyBatch(copies, count as number, buffer), EINVAL, String(count));
    }
    assert.equal(addon.copyBatch(copies.subarray(0, 4), 1, buffer), EINVAL);
    structuredClone(copies, { transfer: [copies.buffer as ArrayBuffer] });
    assert.equal(addon.copyBatch(copies, 1, buffer), EINVAL);
  });

  it('does what the list said at the start when the copies go over the list', () => {
    const copies = list([0, 0, 1, 0, 20], [0, 20, 1, 20, 20]);
    const from = new Uint8Array(40).fill(0xff);
    assert.equal(addon.copyBatch(copies, 2, copies.buffer, from.buffer), 0);
    assert.deepEqual(copies, new Uint32Array(10).fill(2 ** 32 - 1));
  });

  it('takes a list in shared memory', () => {
    const copies = new Uint32Array(new SharedArrayBuffer(20));
    copies.set([0, 0, 0, 4, 4]);
    const bytes = Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4);
    assert.equal(addon.copyBatch(copies, 1, bytes.buffer), 0);
    assert.deepEqual([...bytes], [1, 2, 3, 4, 1, 2, 3, 4]);
  });
});
