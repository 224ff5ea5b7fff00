/** Registers of one function for the DMA of another, as VFIO has it: what cannot be mapped, and who lets go when. */
import { type DmaError, openPci, type PciFunction } from '../../lib/index.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { EduModel, simulate } from '../../lib/sim/index.ts';
import { afterEach, assert, beforeEach, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { device, refuses } from './devices.ts';
import { openSpace } from './space.ts';

const MEMORY_DECODE = 1 << 1;
const EBADF = -9;
const EINVAL = -22;

describe('registers mapped for another function', () => {
  let fn: PciFunction;
  let peer: PciFunction;

  beforeEach(async () => {
    fn = await openPci(device('USERDMA_TEST_EDU'));
    peer = await openPci(device('USERDMA_TEST_EDU_WIDE'));
  });
  afterEach(() => {
    fn.close();
    peer.close();
  });

  it('are mapped whole, and again', () => {
    const bar = peer.bar(0);
    for (let i = 0; i < 3; i++) {
      using first = fn.dma.mapResource(bar, 0, bar.info.size, 'bidirectional');
      using second = fn.dma.mapResource(bar, PAGE, 2 * PAGE, 'from-device');
      assert.notEqual(first.dmaAddress, second.dmaAddress);
    }
  });

  it('cannot be mapped while they do not answer', () => {
    const map = () => fn.dma.mapResource(peer.bar(0), 0, PAGE, 'bidirectional');
    peer.config.command &= ~MEMORY_DECODE;
    refuses(map, 'EFAULT', 'memory decode');
    peer.config.command |= MEMORY_DECODE;
    map().unmap();
  });

  it('cannot be mapped once their function is closed, or when it is a simulated one', async () => {
    const bar = peer.bar(0);
    peer.close();
    refuses(() => fn.dma.mapResource(bar, 0, PAGE, 'bidirectional'), 'ENODEV', 'open it again');
    using simulated = await openPci(simulate(new EduModel()));
    refuses(() => fn.dma.mapResource(simulated.bar(0), 0, PAGE, 'bidirectional'), 'EREMOTEIO');
    refuses(() => simulated.dma.mapResource(fn.bar(0), 0, PAGE, 'bidirectional'), 'EREMOTEIO');
  });

  it('keep their function from being opened by anybody else until they are unmapped', async () => {
    const mapping = fn.dma.mapResource(peer.bar(0), 0, PAGE, 'bidirectional');
    peer.close();
    await assert.rejects(
      openPci(device('USERDMA_TEST_EDU_WIDE')),
      (error: DmaError) => error.code === 'EBUSY',
    );
    mapping.unmap();
    peer = await openPci(device('USERDMA_TEST_EDU_WIDE'));
    assert.equal(peer.bar(0).read32(0), 0x0100_00ed);
  });

  it('are let go when the function that has them mapped is closed', async () => {
    fn.dma.mapResource(peer.bar(0), 0, PAGE, 'bidirectional');
    peer.close();
    fn.close();
    peer = await openPci(device('USERDMA_TEST_EDU_WIDE'));
  });
});

describe('vfioMapWindow', () => {
  const native = loadAddon();

  it('maps what is mapped into the process, and nothing else', () => {
    const { container, space } = openSpace(device('USERDMA_TEST_EDU'));
    const region = native.regionCreate(8 * PAGE, false);
    const window = native.testing.windowFromRegion(region, 0, 8 * PAGE, 2 * PAGE, PAGE);
    const map = (offset: number, size = PAGE, handle = window, flags = 3) =>
      native.vfioMapWindow(container, 0x10_0000, handle, offset, size, flags);
    for (const [offset, size] of [
      [0, 2 * PAGE],
      [3 * PAGE, 5 * PAGE],
      [7 * PAGE, PAGE],
    ] as const) {
      assert.equal(map(offset, size), 0, `${size} bytes at ${offset}`);
      assert.equal(native.vfioUnmap(container, 0x10_0000, size), size);
    }
    for (const [offset, size] of [
      [2 * PAGE, PAGE],
      [PAGE, 2 * PAGE],
      [0, 8 * PAGE],
      [8 * PAGE, PAGE],
      [7 * PAGE, 2 * PAGE],
      [0, 0],
      [0, 100],
      [100, PAGE],
      [-PAGE, PAGE],
      [Number.NaN, PAGE],
      [0, Number.MAX_SAFE_INTEGER],
      [2 ** 52, PAGE],
    ] as const) {
      assert.equal(map(offset, size), EINVAL, `${size} bytes at ${offset}`);
    }
    assert.equal(map(0, PAGE, window, 0), EINVAL);
    assert.equal(map(0, PAGE, window, 4), EINVAL);
    for (const handle of [0, region, container, window + 1, Number.NaN]) {
      assert.equal(map(0, PAGE, handle), EBADF);
    }
    assert.equal(native.testing.windowClose(window), 0);
    assert.equal(map(0), EBADF);
    assert.equal(native.regionRevoke(region), 0);
    space.close();
  });
});
