/** Sequences of the addon: what each step does, where a run stops, and how long the memory lives. */
import type { Addon } from '../../lib/native/addon.ts';
import { assert, it } from '../harness.ts';
import { describeNative, runScript } from './support.ts';

const EPERM = -1;
const EIO = -5;
const EBADF = -9;
const EINVAL = -22;
const EOPNOTSUPP = -95;
const SIZE = 8192;
const WRITE = 16;

function open(addon: Addon, hole = 0, holeSize = 0) {
  const region = addon.regionCreate(SIZE, false);
  const buffer = addon.regionCarve(region, 0, SIZE) as ArrayBuffer;
  const window = addon.testing.windowFromRegion(region, 0, SIZE, hole, holeSize);
  return { window, view: new DataView(buffer) };
}

describeNative('a native sequence', (addon) => {
  const frame = addon.mmioFrame() as ArrayBuffer;
  const handles = new Float64Array(frame);
  const counts = new Uint32Array(frame);

  /** A sequence, its values, and a run of it: the result, and after a failure the number of steps that were made. */
  function prepare(window: number, ...accesses: readonly (readonly [access: number, offset: number])[]) {
    const memory = addon.mmioSequence(window, Float64Array.from(accesses.flat()).buffer);
    assert.ok(memory instanceof ArrayBuffer, String(memory));
    const handle = new Float64Array(memory)[0]!;
    const run = () => {
      handles[0] = handle;
      return [addon.mmioRun() ?? 0, counts[4]];
    };
    return { values: new BigUint64Array(memory, 8), run };
  }

  it('moves values of every width, and leaves the bytes beside them alone', () => {
    const { window, view } = open(addon);
    for (let i = 0; i < 64; i++) view.setUint8(i, 0x11);
    const widths = [1, 2, 4, 8];
    const writes = prepare(window, ...widths.map((width, i) => [WRITE + width, 16 * i] as const));
    const reads = prepare(window, ...widths.map((width, i) => [width, 16 * i] as const));
    writes.values.fill(0xfedc_ba98_7654_3210n);
    reads.values.fill(2n ** 64n - 1n);
    assert.deepEqual(writes.run(), [0, 0]);
    assert.deepEqual(reads.run(), [0, 0]);
    assert.deepEqual([...reads.values], [0x10n, 0x3210n, 0x7654_3210n, 0xfedc_ba98_7654_3210n]);
    widths.forEach((width, i) => {
      for (let at = width; at < 16; at++) assert.equal(view.getUint8(16 * i + at), 0x11);
    });
  });

  it('reaches what is not mapped through the file, and stops where that cannot be done', () => {
    const { window, view } = open(addon, 64, 64);
    const { values, run } = prepare(
      window,
      [WRITE + 4, 60],
      [WRITE + 4, 64],
      [4, 64],
      [8, 72],
      [WRITE + 4, 0],
    );
    values.fill(5n);
    assert.deepEqual(run(), [EOPNOTSUPP, 3]);
    assert.deepEqual(
      [60, 64, 0].map((at) => view.getUint32(at, true)),
      [5, 5, 0],
    );
    assert.equal(values[2], 5n);
  });

  it('is refused when a step is outside, misaligned, the host’s, or none', () => {
    const { window } = open(addon);
    addon.mmioReserve(window, 0x100, 8, true);
    const make = (...numbers: number[]) => addon.mmioSequence(window, Float64Array.from(numbers).buffer);
    const wrong = [
      [4, SIZE],
      [4, 2],
      [8, 4],
      [4, -4],
      [4, NaN],
      [4, 0.5],
      [4, 2 ** 60],
      [3, 0],
      [0, 0],
      [33, 0],
      [NaN, 0],
    ];
    for (const [access, offset] of wrong)
      assert.equal(make(4, 0, access!, offset!), EINVAL, `${access} at ${offset}`);
    assert.equal(make(WRITE + 4, 0x100), EPERM);
    assert.ok(make(4, 0x100) instanceof ArrayBuffer);
    assert.equal(addon.mmioSequence(window, new ArrayBuffer(8)), EINVAL);
    assert.equal(addon.mmioSequence(window, new ArrayBuffer(16 * 65_537)), EINVAL);
    assert.equal(addon.mmioSequence(0, new ArrayBuffer(0)), EBADF);
  });

  it('obeys what is reserved after it was prepared', () => {
    const { window, view } = open(addon);
    const { run } = prepare(window, [WRITE + 4, 0], [WRITE + 4, 0x100]);
    addon.mmioReserve(window, 0x100, 8, true);
    view.setUint32(0x100, 7);
    assert.deepEqual(run(), [EPERM, 1]);
    assert.equal(view.getUint32(0x100), 7);
  });

  it('stops where the device does not answer', () => {
    const window = addon.testing.windowPastEnd(4096);
    for (const access of [1, 2, 4, 8, WRITE + 1, WRITE + 2, WRITE + 4, WRITE + 8]) {
      const { values, run } = prepare(window, [access, 8], [access, 16]);
      values.fill(3n);
      for (let i = 0; i < 100; i++) assert.deepEqual(run(), [EIO, 0]);
      assert.deepEqual([...values], [3n, 3n]);
    }
  });

  it('makes steps of one kind and of several in their order, and says how many before the silence', () => {
    // The second page of the window is behind the end of its file.
    const region = addon.regionCreate(4096, false);
    const window = addon.fileWindowOpen(addon.regionFd(region), 0, 0, 8192, true) as number;
    const view = new DataView(addon.regionCarve(region, 0, 4096) as ArrayBuffer);
    for (const write of [0, WRITE]) {
      for (const width of [1, 2, 4, 8]) {
        const places = [0, 8, 16, 4096, 24];
        const { values, run } = prepare(window, ...places.map((at) => [write + width, at] as const));
        values.set([1n, 2n, 3n, 4n, 5n]);
        for (const at of places) if (at < 4096) view.setBigUint64(at, 6n, true);
        assert.deepEqual(run(), [EIO, 3]);
        assert.deepEqual([...values], write === 0 ? [6n, 6n, 6n, 4n, 5n] : [1n, 2n, 3n, 4n, 5n]);
        assert.deepEqual(
          [0, 8, 16, 24].map((at) => view.getBigUint64(at, true)),
          write === 0 ? [6n, 6n, 6n, 6n] : [1n, 2n, 3n, 6n],
        );
      }
    }
    // A register that is written, read, and written again.
    const { values, run } = prepare(
      window,
      [WRITE + 4, 0],
      [WRITE + 4, 0],
      [4, 0],
      [4, 0],
      [WRITE + 2, 0],
      [4, 0],
      [WRITE + 4, 4096],
    );
    values.set([7n, 8n, 0n, 0n, 9n, 0n, 1n]);
    assert.deepEqual(run(), [EIO, 6]);
    assert.deepEqual([...values], [7n, 8n, 8n, 8n, 9n, 9n, 1n]);
  });

  it('is dead with its window, also when the slot of the window is used again', () => {
    const first = open(addon);
    const { values, run } = prepare(first.window, [WRITE + 4, 0]);
    values[0] = 9n;
    addon.testing.windowClose(first.window);
    const second = open(addon);
    assert.deepEqual(run(), [EBADF, 0]);
    assert.equal(second.view.getUint32(0), 0);
  });

  it('does not run by the handle of something else, or by none', () => {
    const { window } = open(addon);
    for (const handle of [window, 0, -1, NaN, 2 ** 19 + 12_345, 2 ** 53]) {
      handles[0] = handle;
      assert.equal(addon.mmioRun(), EBADF);
    }
  });

  it('ends with its ArrayBuffer, and its handle does not come back', () => {
    const outcome = runScript(
      `
      const region = addon.regionCreate(4096, false);
      const window = addon.testing.windowFromRegion(region, 0, 4096, 0, 0);
      const handles = new Float64Array(addon.mmioFrame());
      const make = () => new Float64Array(addon.mmioSequence(window, Float64Array.of(4, 0).buffer))[0];
      const turn = () => new Promise((done) => setImmediate(done));
      (async () => {
        const first = make();
        handles[0] = first;
        const before = addon.mmioRun();
        let made = 1;
        // The table has 65,536 places: more sequences than that need those of dead ones.
        for (let i = 0; i < 100; i++) {
          for (let j = 0; j < 1000; j++) if (make() > 0) made++;
          globalThis.gc();
          await turn();
        }
        handles[0] = first;
        console.log(before, made, addon.mmioRun());
      })();`,
      ['--expose-gc'],
    );
    assert.equal(outcome.stdout, 'undefined 100001 -9\n', outcome.stderr);
  });
});
