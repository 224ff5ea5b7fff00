/**
 * dma-bufs where there are none: files stand in for the nodes and parameters of the drivers. What the kernel does is
 * tested in the virtual machine.
 */

import { constants } from 'node:buffer';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DmaError } from '../../lib/errors.ts';
import { DmaHeapMemory, dmaHeaps, exportDmaBuf, importDmaBuf, MemfdMemory } from '../../lib/index.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { afterAll, assert, beforeAll, it } from '../harness.ts';
import { refuses } from '../vm/devices.ts';
import { describeNative } from './support.ts';

const PAGE = 4096;
const EBADF = -9;
const ENODEV = -19;
const EINVAL = -22;
const ENOTTY = -25;

/** A tree of files, by path. */
function tree(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'userdma-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

describeNative('exporting a dma-buf', () => {
  let memory: MemfdMemory;
  let buffer: ArrayBuffer;
  const roots: string[] = [];
  const rootOf = (files: Record<string, string>): string => {
    roots.push(tree(files));
    return roots.at(-1)!;
  };

  beforeAll(() => {
    memory = new MemfdMemory();
    buffer = memory.allocate(3 * PAGE);
  });
  afterAll(() => {
    memory.close();
    for (const root of roots) rmSync(root, { recursive: true });
  });

  it('says which module is missing', () => {
    const error = refuses(() => exportDmaBuf(buffer, { root: rootOf({}) }), 'ENODEV', 'modprobe udmabuf');
    assert.equal(error.syscall, 'open');
    const root = rootOf({ 'dev/udmabuf': '' });
    refuses(() => exportDmaBuf(buffer, { root }), 'ENODEV', 'not the udmabuf driver');
    refuses(() => exportDmaBuf(buffer, { root: `${root}/dev/udmabuf` }), 'ENODEV');
  });

  it('says which limit is too low before the kernel only says EINVAL', () => {
    const root = rootOf({
      'dev/udmabuf': '',
      'sys/module/udmabuf/parameters/list_limit': '2\n',
      'sys/module/udmabuf/parameters/size_limit_mb': '0\n',
    });
    const path = `${root}/sys/module/udmabuf/parameters/list_limit`;
    refuses(() => exportDmaBuf([buffer, buffer, buffer], { root }), 'EINVAL', '3 pieces', 'at most 2', path);
    refuses(() => exportDmaBuf([buffer, buffer], { root }), 'EINVAL', '24576 bytes', 'size_limit_mb=1');
  });

  it('takes no list that no driver would', () => {
    const addon = loadAddon();
    const nothing = openSync('/dev/null', 'r+');
    const pieces = (count: number) => new Float64Array(3 * count).fill(PAGE);
    assert.equal(addon.udmabufCreate(nothing, pieces(65_536)), ENOTTY);
    for (const bad of [pieces(65_537), pieces(0), new Float64Array(4), pieces(1).fill(Number.NaN)]) {
      assert.equal(addon.udmabufCreate(nothing, bad), EINVAL);
    }
    closeSync(nothing);
  });

  it('takes only whole pages of live memory', () => {
    const page = new Uint8Array(buffer);
    const parts = [page.subarray(1, PAGE + 1), page.subarray(0, PAGE + 1), page.subarray(0, 0)];
    for (const part of parts) refuses(() => exportDmaBuf(part), 'EINVAL', 'whole pages', '4096');
    const freed = memory.allocate(PAGE);
    memory.free(freed);
    const others = [freed, new ArrayBuffer(PAGE), new Uint8Array(PAGE), Buffer.alloc(PAGE), undefined, 7];
    for (const other of others) refuses(() => exportDmaBuf(other as ArrayBuffer), 'EINVAL', 'allocCoherent');
    refuses(() => exportDmaBuf([]), 'EINVAL', 'at least one');
  });
});

describeNative('a heap', () => {
  it('is one of those in /dev/dma_heap', () => {
    const empty = tree({});
    assert.deepEqual(dmaHeaps({ root: empty }), []);
    refuses(() => new DmaHeapMemory({ root: empty }), 'ENODEV', 'CONFIG_DMABUF_HEAPS_SYSTEM');
    const root = tree({ 'dev/dma_heap/system': '', 'dev/dma_heap/linux,cma': '' });
    assert.deepEqual(dmaHeaps({ root }), ['linux,cma', 'system']);
    refuses(() => new DmaHeapMemory({ root, heap: 'reserved' }), 'ENODEV', 'linux,cma, system');
    refuses(() => new DmaHeapMemory({ root, heap: '../dma_heap/system' }), 'EINVAL', 'linux,cma, system');
    for (const folder of [empty, root]) rmSync(folder, { recursive: true });
  });

  it('is refused when its node is that of something else', () => {
    const root = tree({ 'dev/dma_heap/system': '' });
    const memory = new DmaHeapMemory({ root });
    refuses(() => memory.allocate(PAGE), 'ENODEV', 'not that of a heap');
    memory.close();
    memory.close();
    refuses(() => memory.allocate(PAGE), 'ENODEV', 'closed');
    rmSync(root, { recursive: true });
  });
});

describeNative('importing a dma-buf', (addon) => {
  it('takes nothing but a dma-buf', () => {
    const region = addon.regionCreate(PAGE, false);
    const fd = addon.regionFd(region);
    assert.equal(addon.dmaBufImport(fd), ENOTTY);
    refuses(() => importDmaBuf(fd), 'EINVAL', 'VIDIOC_EXPBUF');
    addon.regionRevoke(region);
    assert.equal(addon.dmaBufImport(fd), EBADF);
    refuses(() => importDmaBuf(fd), 'EBADF', 'not open');
    for (const junk of [-1, 0.5, 2 ** 31, Number.NaN, '1', undefined, {}]) {
      assert.equal(addon.dmaBufImport(junk as number), EINVAL);
      assert.throws(() => importDmaBuf(junk as number), DmaError);
    }
  });
});

describeNative('memory that was shared', (addon) => {
  it('has its pages replaced, and nothing around them', () => {
    const region = addon.regionCreate(4 * PAGE, false);
    const bytes = new Uint8Array(addon.regionCarve(region, 0, 4 * PAGE) as ArrayBuffer).fill(7);
    assert.equal(addon.regionReplace(region, PAGE, 2 * PAGE), 0);
    const values = [0, PAGE - 1, PAGE, 3 * PAGE - 1, 3 * PAGE].map((offset) => bytes[offset]);
    assert.deepEqual(values, [7, 7, 0, 0, 7]);
    bytes.fill(8);
    assert.equal(addon.regionCarve(region, 0, 0), EINVAL);
    for (const [offset, length] of [
      [0, 0],
      [1, PAGE],
      [0, 100],
      [PAGE, 4 * PAGE],
      [5 * PAGE, PAGE],
      [-PAGE, PAGE],
    ]) {
      assert.equal(addon.regionReplace(region, offset!, length!), EINVAL, `${offset} ${length}`);
    }
    assert.ok(bytes.every((byte) => byte === 8));
    addon.regionRevoke(region);
    assert.equal(addon.regionReplace(region, 0, PAGE), EBADF);
  });

  it('is given out again, and keeps nothing out of use', () => {
    const memory = new MemfdMemory();
    for (let round = 0; round < 1000; round++) {
      const buffer = memory.allocate(8192);
      assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
      new Uint8Array(buffer).fill(0xff);
      memory.share(buffer);
      memory.free(buffer);
    }
    assert.equal(memory.quarantined, 0);
    memory.share(new ArrayBuffer(8)); // nobody's: nothing happens
    memory.close();
  });
});

describeNative('huge pages', (addon) => {
  it('come in sizes that the system has', () => {
    for (const junk of [4096, 3, 0, 8193, -1, 2 ** 41, Number.NaN, '2MiB', null, 2n]) {
      assert.equal(addon.regionCreate(4096, junk as number), EINVAL, String(junk));
    }
    assert.equal(addon.regionCreate(4096, 8192), ENODEV);
  });

  it('are not said to be replaced by ordinary ones when there were none of those either', () => {
    const size = Math.min(constants.MAX_LENGTH, 2 ** 45);
    if (process.availableMemory() > size) return; // Node 20: no buffer is too large for this machine
    const memory = new MemfdMemory({ hugepages: 'prefer' });
    refuses(() => memory.allocate(size), 'ENOMEM', 'available');
    assert.equal(memory.fallback, undefined);
    memory.close();
  });
});
