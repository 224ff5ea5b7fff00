/** Register accesses: values, bounds, parts that are not mapped, and a device that does not answer. */
import type { Addon } from '../../lib/native/addon.ts';
import { assert, it } from '../harness.ts';
import { mmioOf } from './mmio-calls.ts';
import { describeNative, runScript } from './support.ts';

const EIO = -5;
const EBADF = -9;
const EINVAL = -22;
const EOPNOTSUPP = -95;
const SIZE = 8192;

/** A window over a region, and the same bytes as memory. */
function open(addon: Addon, hole = 0, holeSize = 0) {
  const region = addon.regionCreate(SIZE, false);
  const buffer = addon.regionCarve(region, 0, SIZE) as ArrayBuffer;
  const window = addon.testing.windowFromRegion(region, 0, SIZE, hole, holeSize);
  assert.ok(window > 0);
  return { region, window, view: new DataView(buffer) };
}

describeNative('a register window', (addon) => {
  const mmio = mmioOf(addon);
  it('moves values of every width, little-endian, at both ends', () => {
    const { window, view } = open(addon);
    for (const end of [0, SIZE]) {
      const at = (width: number) => (end === 0 ? 0 : end - width);
      assert.equal(mmio.mmioWrite8(window, at(1), 0xfe), 0);
      assert.equal(view.getUint8(at(1)), 0xfe);
      assert.equal(mmio.mmioRead8(window, at(1)), 0xfe);
      assert.equal(mmio.mmioWrite16(window, at(2), 0xfedc), 0);
      assert.equal(view.getUint16(at(2), true), 0xfedc);
      assert.equal(mmio.mmioRead16(window, at(2)), 0xfedc);
      assert.equal(mmio.mmioWrite32(window, at(4), 0xfedcba98), 0);
      assert.equal(view.getUint32(at(4), true), 0xfedcba98);
      assert.equal(mmio.mmioRead32(window, at(4)), 0xfedcba98);
      assert.equal(mmio.mmioWrite64(window, at(8), 0xfedcba9876543210n), 0);
      assert.equal(view.getBigUint64(at(8), true), 0xfedcba9876543210n);
      assert.equal(mmio.mmioRead64(window, at(8)), 0xfedcba9876543210n);
    }
  });

  it('refuses what touches bytes of the host, of any width, and nothing else', () => {
    const { window } = open(addon);
    const EPERM = -1;
    assert.equal(addon.mmioReserve(window, 0x100, 0x20, false), 0);
    assert.equal(addon.mmioReserve(window, 0x204, 4, true), 0);
    const widths = [
      [1, mmio.mmioRead8, mmio.mmioWrite8],
      [2, mmio.mmioRead16, mmio.mmioWrite16],
      [4, mmio.mmioRead32, mmio.mmioWrite32],
    ] as const;
    for (const [width, read, write] of widths) {
      for (let offset = 0xf0; offset < 0x220; offset += width) {
        const overlaps = (start: number, end: number) => offset < end && offset + width > start;
        const table = overlaps(0x100, 0x120);
        const pending = overlaps(0x204, 0x208);
        assert.equal(read(window, offset), table ? EPERM : 0, `read ${width} at ${offset}`);
        assert.equal(write(window, offset, 0), table || pending ? EPERM : 0, `write ${width} at ${offset}`);
      }
    }
    assert.equal(mmio.mmioRead64(window, 0x118), EPERM);
    assert.equal(mmio.mmioWrite64(window, 0x100, 0n), EPERM);
    assert.equal(mmio.mmioRead64(window, 0x120), 0n);
    assert.equal(mmio.mmioRead64(window, 0x200), 0n);
    assert.equal(mmio.mmioWrite64(window, 0x200, 0n), EPERM);
    assert.equal(mmio.mmioRead32(window, 0x102), EINVAL); // misaligned comes first
    assert.equal(addon.mmioReserve(window, SIZE, 8, false), EINVAL);
    assert.equal(addon.mmioReserve(window, SIZE - 8, 16, false), EINVAL);
    assert.equal(addon.mmioReserve(window, 0, 0, false), EINVAL);
    assert.equal(addon.mmioReserve(window, 0, 8, 1 as unknown as boolean), EINVAL);
    assert.equal(addon.mmioReserve(0, 0, 8, false), EBADF);
  });

  it('touches only the bytes of the access', () => {
    const { window, view } = open(addon);
    for (const width of [1, 2, 4, 8]) {
      for (let i = 0; i < 24; i++) view.setUint8(i, 0x11);
      if (width === 8) mmio.mmioWrite64(window, 8, 0n);
      else mmio[`mmioWrite${(width * 8) as 8 | 16 | 32}`](window, 8, 0);
      for (let i = 0; i < 24; i++) assert.equal(view.getUint8(i), i >= 8 && i < 8 + width ? 0 : 0x11);
    }
  });

  it('refuses what lies outside or is misaligned, and changes nothing', () => {
    const { window, view } = open(addon);
    for (const offset of [
      -4,
      SIZE,
      SIZE - 3,
      SIZE - 2,
      1,
      2,
      3,
      2 ** 32,
      2 ** 53,
      2 ** 64,
      Number.NaN,
      0.5,
    ]) {
      assert.equal(mmio.mmioRead32(window, offset), EINVAL);
      assert.equal(mmio.mmioWrite32(window, offset, 1), EINVAL);
    }
    assert.equal(mmio.mmioWrite64(window, 4, 1n), EINVAL);
    for (let i = 0; i < SIZE; i += 8) assert.equal(view.getBigUint64(i), 0n);
  });

  it('reaches what is not mapped through the file, at the same offsets', () => {
    const { window, view } = open(addon, 64, 128);
    for (const offset of [56, 64, 128, 184, 192]) {
      const mapped = offset < 64 || offset >= 192;
      // The kernel may make two accesses of 64 bits: they are refused, and nothing is written.
      assert.equal(mmio.mmioWrite64(window, offset, BigInt(offset)), mapped ? 0 : EOPNOTSUPP);
      assert.equal(view.getBigUint64(offset, true), mapped ? BigInt(offset) : 0n);
      assert.equal(mmio.mmioRead64(window, offset), mapped ? BigInt(offset) : EOPNOTSUPP);
      assert.equal(mmio.mmioWrite32(window, offset, offset), 0);
      assert.equal(view.getUint32(offset, true), offset);
      assert.equal(mmio.mmioWrite16(window, offset, 0xfedc), 0);
      assert.equal(view.getUint16(offset, true), 0xfedc);
      assert.equal(mmio.mmioWrite8(window, offset, 0xab), 0);
      assert.equal(view.getUint16(offset, true), 0xfeab);
      view.setUint32(offset, ~offset, true);
      assert.equal(mmio.mmioRead32(window, offset), ~offset >>> 0);
      assert.equal(mmio.mmioRead16(window, offset), ~offset & 0xffff);
      assert.equal(mmio.mmioRead8(window, offset), ~offset & 0xff);
    }
  });

  it('is dead once closed, also when its slot is used again', () => {
    const first = open(addon);
    assert.equal(addon.testing.windowClose(first.window), 0);
    const second = open(addon);
    assert.notEqual(second.window, first.window);
    assert.equal(mmio.mmioRead32(first.window, 0), EBADF);
    assert.equal(mmio.mmioWrite32(first.window, 0, 1), EBADF);
    assert.equal(addon.mmioSize(first.window), EBADF);
    assert.equal(addon.testing.windowClose(first.window), EBADF);
    assert.equal(mmio.mmioRead32(second.window, 0), 0);
  });

  it('can be opened for ever: a slot is never used up, and no handle comes back', () => {
    const { region } = open(addon);
    let last = 0;
    for (let i = 0; i < 20_000; i++) {
      const window = addon.testing.windowFromRegion(region, 0, 8, 0, 0);
      assert.ok(window > last && Number.isSafeInteger(window));
      assert.equal(mmio.mmioRead8(last, 0), EBADF);
      assert.ok(last === 0 || window % 2 ** 16 === last % 2 ** 16, 'the slot was given up');
      assert.equal(addon.testing.windowClose(window), 0);
      last = window;
    }
  });

  it('does not answer to the handle of something else', () => {
    const { region, window } = open(addon);
    assert.equal(mmio.mmioRead32(region, 0), EBADF);
    assert.equal(addon.regionSize(window), EBADF);
  });

  it('reads zeros, not the old memory, after its region was revoked', () => {
    const { region, window, view } = open(addon);
    view.setUint32(0, 0x12345678);
    addon.regionRevoke(region);
    assert.equal(mmio.mmioRead32(window, 0), 0);
  });
});

describeNative('a device that does not answer', (addon) => {
  const mmio = mmioOf(addon);
  it('gives EIO for every width and direction, as often as one tries', () => {
    const window = addon.testing.windowPastEnd(4096);
    for (let i = 0; i < 1000; i++) {
      assert.equal(mmio.mmioRead8(window, 1), EIO);
      assert.equal(mmio.mmioRead16(window, 2), EIO);
      assert.equal(mmio.mmioRead32(window, 4), EIO);
      assert.equal(mmio.mmioRead64(window, 8), EIO);
      assert.equal(mmio.mmioWrite8(window, 1, 1), EIO);
      assert.equal(mmio.mmioWrite16(window, 2, 1), EIO);
      assert.equal(mmio.mmioWrite32(window, 4, 1), EIO);
      assert.equal(mmio.mmioWrite64(window, 8, 1n), EIO);
    }
  });

  it('goes on after a listener of SIGBUS took the guard away, once a window is made', () => {
    const script = `
      const window = addon.testing.windowPastEnd(4096);
      const before = mmio.mmioRead32(window, 0);
      let heard = 0;
      const listener = () => heard++;
      const look = [];
      for (let i = 0; i < 5; i++) {
        process.on('SIGBUS', listener);
        addon.testing.windowClose(addon.testing.windowPastEnd(4096));
        look.push(mmio.mmioRead32(window, 0));
        process.removeListener('SIGBUS', listener);
        addon.testing.windowClose(addon.testing.windowPastEnd(4096));
        look.push(mmio.mmioRead32(window, 0));
      }
      process.on('SIGBUS', listener);
      addon.testing.windowPastEnd(4096);
      process.kill(process.pid, 'SIGBUS');
      setTimeout(() => { console.log(before, ...look, 'heard', heard); process.exit(); }, 100);`;
    const outcome = runScript(script);
    assert.equal(outcome.stdout, `${'-5 '.repeat(11)}heard 1\n`);
    assert.deepEqual([outcome.status, outcome.signal], [0, null]);
  });

  it("leaves everybody else's SIGBUS alone", () => {
    const script =
      'addon.testing.windowPastEnd(4096); process.kill(process.pid, "SIGBUS"); setTimeout(() => {}, 9e4)';
    assert.deepEqual(runScript(script).signal, 'SIGBUS');
  });
});
