/** Memory that drivers of the kernel map: what a heap gives, what a device behind VFIO can do with it, and the ioctls. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { DMA_ATTR, DmaDevice, DmaHeapMemory, dmaHeaps, openPci } from '../../lib/index.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { skipWithout } from '../absent.ts';
import { assert, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { device, refuses } from './devices.ts';
import { descriptors, dmaBufs, heapMemory } from './dma-bufs.ts';
import { openSpace } from './space.ts';

const EBADF = -9;
const EEXIST = -17;
const EINVAL = -22;

describe('memory that a driver of the kernel has mapped', () => {
  it('is copied for a device, unless that is forbidden or it is too long: then the error says what to do', async () => {
    using fn = await openPci(device('USERDMA_TEST_EDU'), { streaming: { copybreak: 32 * 1024 } });
    const memory = heapMemory();
    const bytes = new Uint8Array(memory.allocate(2 ** 20)).fill(3);
    const bounced = fn.dma.mapSingle(bytes.subarray(0, 2 ** 16), 'to-device');
    assert.equal(bounced.way, 'bounced');
    bounced.unmap();
    const { REQUIRE_COHERENT } = DMA_ATTR;
    for (const size of [4096, 2 ** 16]) {
      const map = () => fn.dma.mapSingle(bytes.subarray(0, size), 'to-device', REQUIRE_COHERENT);
      refuses(map, 'EFAULT', 'dma-buf', 'exportDmaBuf');
    }
    refuses(() => fn.dma.mapSingle(bytes, 'to-device'), 'EFAULT', 'dma-buf', 'exportDmaBuf');
    refuses(() => fn.dma.mapSg([bytes.subarray(0, 4096), bytes], 'to-device'), 'EIO');
    memory.close();
  });

  it('cannot be the memory of a device behind VFIO, and nothing is lost by trying', () => {
    const { space, native, container } = openSpace(device('USERDMA_TEST_EDU'));
    const available = () => (native.vfioIommuInfo(container) as { available: number }).available;
    const before = { available: available(), dmaBufs: dmaBufs() };
    const dma = new DmaDevice({ name: 'edu', memory: heapMemory(), addressSpace: space });
    refuses(() => dma.allocCoherent(4096), 'EFAULT', 'dma-heap', 'allocCoherent', 'exportDmaBuf');
    assert.deepEqual({ available: available(), dmaBufs: dmaBufs() }, before);
    dma.close();
  });
});

describe('a heap of the kernel', () => {
  it('is one of those that the system has', () => {
    skipWithout('dma-heap');
    assert.ok(dmaHeaps().includes('system'));
    refuses(() => new DmaHeapMemory({ heap: 'nothing' }), 'ENODEV', '/dev/dma_heap/nothing', 'system');
    for (const heap of ['', '.', '..', '../udmabuf', 'a\0b', 7, null]) {
      refuses(
        () => new DmaHeapMemory({ heap: heap as string }),
        'EINVAL',
        typeof heap === 'string' ? 'system' : 'a string',
      );
    }
  });

  it('gives, is synced and takes back ten thousand times without a leak', () => {
    const memory = heapMemory();
    const counts = () => ({ dmaBufs: dmaBufs(), descriptors: descriptors().length });
    const available = () => Number(/MemAvailable:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
    const round = (): void => {
      const buffer = memory.allocate(4096);
      memory.beginCpuAccess(buffer, 'bidirectional');
      new Uint8Array(buffer).fill(0xff);
      memory.endCpuAccess(buffer, 'bidirectional');
      memory.free(buffer);
    };
    for (let i = 0; i < 1000; i++) round();
    const before = counts();
    const kibibytes = available();
    for (let i = 0; i < 10_000; i++) round();
    assert.deepEqual(counts(), before);
    // All of it together is 40 MB.
    assert.ok(kibibytes - available() < 20_000, `${kibibytes - available()} KiB less`);
    const mappings = readFileSync('/proc/self/maps', 'utf8').split('/dmabuf:').length - 1;
    assert.equal(mappings, 0);
    memory.close();
  });
});

describe('the kernel, behind our checks', () => {
  it('refuses with a bare EINVAL what we explain', () => {
    skipWithout('udmabuf');
    const native = loadAddon();
    const udmabuf = openSync('/dev/udmabuf', 'r+');
    const region = native.regionCreate(2 * PAGE, false);
    const fd = native.regionFd(region);
    const create = (...piece: number[]) => native.udmabufCreate(udmabuf, Float64Array.from(piece));
    for (const piece of [
      [fd, 0, 100],
      [fd, 100, PAGE],
      [fd, PAGE, 2 * PAGE],
      [fd, 0, 0],
    ]) {
      assert.equal(create(...piece), EINVAL, piece.join());
    }
    const dmaBuf = create(fd, PAGE, PAGE);
    assert.ok(dmaBuf > 0);
    assert.equal(native.dmaBufSync(dmaBuf, 1 | 4), EINVAL, 'the end of what was not begun');
    assert.equal(native.dmaBufSync(dmaBuf, 0), EINVAL);
    assert.equal(native.dmaBufSync(dmaBuf, 3), 0);
    assert.equal(native.dmaBufClose(dmaBuf), 0);
    closeSync(udmabuf);
    native.regionRevoke(region);
  });

  it('takes arguments that nobody should pass, and still works', () => {
    const native = loadAddon();
    const functions = native as unknown as Record<string, (...args: unknown[]) => unknown>;
    const names = ['dmaBufImport', 'dmaBufMap', 'dmaBufSync', 'dmaHeapAllocate', 'udmabufCreate'];
    skipWithout('dma-heap');
    const heap = openSync('/dev/dma_heap/system', 'r+');
    const dmaBuf = native.dmaHeapAllocate(heap, 1);
    assert.equal(native.dmaBufSize(dmaBuf), PAGE);
    const junk = [undefined, null, Number.NaN, -1, 0.5, 2 ** 53, '0', {}, [], true, 1n, new Float64Array(3)];
    for (const name of names) {
      for (const first of [...junk, dmaBuf, heap]) {
        if (name === 'dmaBufImport' && first === heap) continue;
        for (const second of junk) {
          const result = functions[name]!(first, second, ...junk);
          assert.ok(typeof result === 'number' && result < 0, `${name}(${String(first)}, ${String(second)})`);
        }
      }
    }
    for (const handle of [0, heap, 0x6000_0000, 0x6001_ffff, 0x7fff_ffff, dmaBuf + 1]) {
      assert.equal(native.dmaBufSize(handle), EBADF);
      assert.equal(native.dmaBufFd(handle), EBADF);
      assert.equal(native.dmaBufClose(handle), EBADF);
    }
    const buffer = native.dmaBufMap(dmaBuf, PAGE);
    assert.ok(buffer instanceof ArrayBuffer);
    assert.equal(native.dmaBufMap(dmaBuf, PAGE), EEXIST);
    new Uint8Array(buffer).fill(1);
    assert.equal(native.dmaBufClose(dmaBuf), 0);
    assert.equal(native.dmaBufClose(dmaBuf), EBADF);
    assert.equal(new Uint8Array(buffer)[0], 0, 'memory of its own');
    closeSync(heap);
  });
});
