/** The native VFIO functions with arguments nobody should pass: a negative number each, and everything still works. */
import { loadAddon } from '../../lib/native/load.ts';
import { VFIO_CONFIG_REGION, VFIO_IOMMU } from '../../lib/native/vfio.ts';
import { afterAll, assert, beforeAll, describe, it } from '../harness.ts';
import { device, groupOf } from './devices.ts';

const EBADF = -9;
const EINVAL = -22;
const JUNK = [undefined, null, Number.NaN, Number.POSITIVE_INFINITY, -1, 0.5, 2 ** 53, '0', {}, [], true, 1n];
const MADE_UP = [0, 1, 0x1000_0000, 0x2000_0000, 0x2fff_ffff, 0x3002_0000, 0x7fff_ffff, 2 ** 32 + 1];

type Anything = (...args: unknown[]) => unknown;

describe('native VFIO functions', () => {
  const native = loadAddon();
  const functions = native as unknown as Record<string, Anything>;
  const group = groupOf(device('USERDMA_TEST_EDU'));
  let container = 0;
  let open = 0;

  beforeAll(() => {
    container = native.vfioContainerOpen(VFIO_IOMMU.type1);
    assert.equal(native.vfioGroupOpen(container, group), 0);
    assert.equal(native.vfioGroupAttach(container, group), 0);
    assert.equal(native.vfioSetIommu(container), 0);
    open = native.vfioDeviceOpen(container, group, device('USERDMA_TEST_EDU'));
    assert.ok(open > 0, `device: ${open}`);
  });
  afterAll(() => {
    assert.equal(native.vfioDeviceClose(open), 0);
    assert.equal(native.vfioContainerClose(container), 0);
    assert.equal(native.vfioDeviceClose(open), EBADF);
    assert.equal(native.vfioContainerClose(container), EBADF);
  });

  const onHandles = Object.keys(native).filter(
    (name) =>
      name.startsWith('vfio') &&
      !['vfioContainerOpen', 'vfioPageOffset', 'vfioCanMapForeign', 'vfioGroupHeld'].includes(name),
  );

  it('are all here', () => assert.equal(onHandles.length, 26));

  for (const name of onHandles) {
    it(`${name} knows its handles`, () => {
      const other =
        /^vfio(Device|HotReset|Region|Bar|Irq)/.test(name) && name !== 'vfioDeviceOpen' ? container : open;
      for (const handle of [...JUNK, ...MADE_UP, other, Symbol('handle'), () => 0]) {
        assert.equal(functions[name]!(handle, 0, 0, 0, 4096, 0), EBADF, String(handle));
      }
      assert.equal(functions[name]!(), EBADF);
    });
  }

  /** Calls that are right but for one argument at a time; `skip` says which junk is right there. */
  const calls: [name: string, ...args: unknown[]][] = [
    ['vfioGroupOpen', 'container', 99999],
    ['vfioGroupStatus', 'container', group],
    ['vfioGroupAttach', 'container', group],
    ['vfioDeviceOpen', 'container', group, '0000:00:10.0'],
    ['vfioMap', 'container', 0x1000, new ArrayBuffer(8192), 0, 4096, 3],
    ['vfioUnmap', 'container', 0x1000, 4096],
    ['vfioRegionSize', 'device', 0],
    ['vfioRegionRead', 'device', VFIO_CONFIG_REGION, 0, 4],
    ['vfioRegionReadBytes', 'device', VFIO_CONFIG_REGION, 0, new ArrayBuffer(4)],
    ['vfioRegionWrite', 'device', VFIO_CONFIG_REGION, 0x3c, 1, 0],
    ['vfioBarOpen', 'device', 0],
    ['vfioIrqCount', 'device', 0],
    ['vfioIrqArm', 'device', 1, 0, 1, 0x5001_0000],
    ['vfioIrqResizable', 'device', 1],
    ['vfioIrqTrigger', 'device', 1, 0],
    ['vfioIrqOff', 'device', 1],
    ['vfioIrqUnmask', 'device', 0],
  ];
  for (const [name, kind, ...rest] of calls) {
    it(`${name} checks every argument`, () => {
      const handle = kind === 'container' ? container : open;
      for (let index = 0; index < rest.length; index++) {
        for (const junk of [...JUNK, Symbol('junk'), () => 0]) {
          if (typeof junk === typeof rest[index] && typeof junk === 'string') continue;
          const args = rest.with(index, junk);
          const result = functions[name]!(handle, ...args);
          const ok = result === EINVAL || (name === 'vfioIrqArm' && result === EBADF);
          assert.ok(ok, `argument ${index + 1} = ${String(junk)} gives ${String(result)}`);
        }
      }
    });
  }

  it('stay inside the regions, BARs, vectors and names there are', () => {
    const config = (offset: number, width: number): number =>
      native.vfioRegionRead(open, VFIO_CONFIG_REGION, offset, width);
    for (const [offset, width] of [
      [256, 1],
      [255, 2],
      [253, 4],
      [0, 0],
      [0, 3],
      [0, 8],
      [2 ** 40, 4],
    ]) {
      assert.equal(config(offset!, width!), EINVAL, `${width} bytes at ${offset}`);
    }
    assert.equal(native.vfioRegionWrite(open, VFIO_CONFIG_REGION, 0x3c, 1, 256), EINVAL);
    assert.equal(native.vfioRegionRead(open, 1, 0, 4), EINVAL);
    assert.equal(native.vfioRegionRead(open, 1000, 0, 4), EINVAL);
    for (const bar of [1, 5, 6, 7, 8, 1000])
      assert.equal(native.vfioBarOpen(open, bar), EINVAL, `BAR ${bar}`);
    assert.equal(native.vfioIrqArm(open, 1, 0, 2049, 0), EINVAL);
    assert.equal(native.vfioIrqArm(open, 1, 0, 0, 0), EINVAL);
    assert.equal(native.vfioIrqArm(open, 2, 0, 1, 0), EINVAL);
    assert.equal(native.vfioIrqArm(open, 99, 0, 1, 0), EINVAL);
    assert.equal(native.vfioIrqCount(open, 99), 0);
    assert.equal(native.vfioIrqUnmask(open, 0), EINVAL);
    for (const name of ['', 'x', '0000:00:11.0', 'a'.repeat(65), '0000:00:10.0\0']) {
      assert.ok(native.vfioDeviceOpen(container, group, name) < 0, name);
    }
    assert.equal(native.vfioGroupOpen(container, 2 ** 31), EINVAL);
    assert.equal(native.vfioGroupStatus(container, group + 1), EINVAL);
  });

  it('know what groups are held, and what a hot reset needs', () => {
    assert.deepEqual([native.vfioGroupHeld(group), native.vfioGroupHeld(group + 1)], [1, 0]);
    for (const junk of [...JUNK, 2 ** 32]) assert.equal(functions.vfioGroupHeld!(junk), EINVAL);
    // This one is on the root bus.
    assert.equal(native.vfioHotResetInfo(open), -19);
    assert.equal(native.vfioHotReset(open), -19);
  });

  it('find where a buffer lies', () => {
    const buffer = new ArrayBuffer(64);
    assert.equal(native.vfioPageOffset(buffer, 1), 0);
    assert.ok(native.vfioPageOffset(buffer, 4096) >= 0);
    for (const page of [...JUNK, 0, 3, 4095]) assert.equal(functions.vfioPageOffset!(buffer, page), EINVAL);
    for (const junk of [...JUNK, new Uint8Array(8)])
      assert.equal(functions.vfioPageOffset!(junk, 4096), EINVAL);
  });
});
