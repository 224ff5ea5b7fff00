/** Regions and the memory source over them: zeroed, sealed, and dead when they should be. */
import { readFileSync, readlinkSync, writeSync } from 'node:fs';
import { markAsUntransferable } from 'node:worker_threads';
import { DmaError } from '../../lib/errors.ts';
import { MemfdMemory } from '../../lib/memory/memfd.ts';
import type { Addon } from '../../lib/native/addon.ts';
import { assert, it } from '../harness.ts';
import { describeNative, runScript } from './support.ts';

const EINVAL = -22;
const ENOMEM = -12;
const EBADF = -9;
const PAGE = 4096;

const canTransfer = 'transfer' in ArrayBuffer.prototype;

function carve(addon: Addon, region: number, offset: number, length: number): ArrayBuffer {
  const buffer = addon.regionCarve(region, offset, length);
  assert.ok(buffer instanceof ArrayBuffer, `regionCarve gave ${String(buffer)}`);
  return buffer;
}

function isZero(buffer: ArrayBuffer): boolean {
  return new Uint8Array(buffer).every((byte) => byte === 0);
}

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    assert.ok(error instanceof DmaError, String(error));
    return error.code;
  }
  return 'nothing thrown';
}

describeNative('a region', (addon) => {
  it('is rounded up to pages, zeroed, and close-on-exec', () => {
    const page = addon.pageSize();
    const region = addon.regionCreate(page + 1, false);
    assert.equal(addon.regionSize(region), 2 * page);
    assert.ok(isZero(carve(addon, region, 0, 2 * page)));
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${addon.regionFd(region)}`, 'utf8'));
    assert.ok((Number.parseInt(flags![1]!, 8) & 0o2000000) !== 0, 'O_CLOEXEC');
    assert.equal(addon.regionRevoke(region), 0);
  });

  it('is a shared memfd that can be neither shrunk nor grown', () => {
    const region = addon.regionCreate(PAGE, false);
    const fd = addon.regionFd(region);
    assert.match(readlinkSync(`/proc/self/fd/${fd}`), /memfd:userdma/);
    assert.throws(() => writeSync(fd, new Uint8Array(1), 0, 1, addon.regionSize(region)), { code: 'EPERM' });
    const view = new Uint8Array(carve(addon, region, 0, PAGE));
    writeSync(fd, new Uint8Array([7]), 0, 1, 5);
    assert.equal(view[5], 7, 'what is written to the file is seen in the mapping');
    addon.regionRevoke(region);
  });

  it('is carved exactly, and zeroed to the end of the last page each time', () => {
    const region = addon.regionCreate(4 * PAGE, false);
    const whole = new Uint8Array(carve(addon, region, 0, 4 * PAGE)).fill(0xff);
    const part = carve(addon, region, PAGE, 100);
    assert.equal(part.byteLength, 100);
    assert.ok(isZero(part));
    assert.equal(whole[PAGE - 1], 0xff);
    assert.ok(whole.subarray(PAGE, 2 * PAGE).every((byte) => byte === 0));
    assert.equal(whole[2 * PAGE], 0xff);
    addon.regionRevoke(region);
  });

  it('refuses to be carved outside itself or off a page', () => {
    const region = addon.regionCreate(2 * PAGE, false);
    const bad = [
      [0, 0],
      [1, 1],
      [0, 2 * PAGE + 1],
      [PAGE, PAGE + 1],
      [2 * PAGE, 1],
      [-PAGE, 1],
      [0, 0.5],
    ];
    for (const [offset, length] of bad) assert.equal(addon.regionCarve(region, offset!, length!), EINVAL);
    addon.regionRevoke(region);
    assert.equal(addon.regionCarve(region, 0, 1), EBADF);
  });

  it('is refused when it is larger than memory', () => {
    assert.equal(addon.regionCreate(2 ** 52, false), ENOMEM);
    assert.equal(addon.regionCreate(2 ** 53, false), EINVAL);
  });

  it('gives its views harmless zeros when it is revoked, and its file descriptor back', () => {
    const region = addon.regionCreate(PAGE, false);
    const fd = addon.regionFd(region);
    const view = new Uint8Array(carve(addon, region, 0, PAGE)).fill(0xaa);
    assert.equal(addon.regionRevoke(region), 0);
    assert.equal(view[0], 0);
    view[0] = 1; // to a private page
    assert.throws(() => readlinkSync(`/proc/self/fd/${fd}`));
    assert.equal(addon.regionRevoke(region), EBADF);
    assert.equal(addon.regionSize(region), EBADF);
  });

  it('keeps its addresses as long as there is a view, and gives them back after that', () => {
    const outcome = runScript(
      `const lines = () => require('fs').readFileSync('/proc/self/maps', 'utf8').split('\\n');
       const region = addon.regionCreate(4096 * 8, false);
       const line = lines().find((line) => line.includes('memfd:userdma'));
       const [start] = line.split('-').map((address) => parseInt(address, 16));
       const mapped = () => lines().some((line) => {
         const [from, to] = line.split(' ')[0].split('-').map((address) => parseInt(address, 16));
         return from <= start && start < to;
       });
       let buffers = [];
       for (let i = 0; i < 8; i++) buffers.push(addon.regionCarve(region, 4096 * i, 4096));
       addon.regionRevoke(region);
       buffers = buffers.slice(7);
       const later = (turns, then) => { gc(); turns > 0 ? setImmediate(later, turns - 1, then) : then(); };
       later(5, () => {
         new Uint8Array(buffers[0]).fill(1);
         console.log(mapped());
         buffers = undefined;
         later(5, () => console.log(mapped()));
       });`,
      ['--expose-gc'],
    );
    assert.deepEqual([outcome.status, outcome.stdout, outcome.stderr], [0, 'true\nfalse\n', '']);
  });
});

describeNative('memfd memory', () => {
  it('hands out zeroed buffers of their own that do not overlap', () => {
    const memory = new MemfdMemory();
    const buffers = [1, 4095, 4096, 4097, 100_000, 3 * 2 ** 20].map((size) => memory.allocate(size));
    for (const buffer of buffers) assert.ok(isZero(buffer));
    buffers.forEach((buffer, index) => void new Uint8Array(buffer).fill(index + 1));
    buffers.forEach((buffer, index) => {
      assert.ok(new Uint8Array(buffer).every((byte) => byte === index + 1));
    });
    memory.close();
  });

  it('kills every view at free, and zeroes the memory for the next one', () => {
    const memory = new MemfdMemory();
    for (let i = 0; i < 2000; i++) {
      const buffer = memory.allocate(8192);
      const view = new Uint8Array(buffer);
      assert.ok(view[0] === 0 && view[8191] === 0);
      view.fill(0xff);
      memory.free(buffer);
      assert.equal(view.length, 0);
      assert.equal(buffer.byteLength, 0);
      assert.equal(
        codeOf(() => memory.free(buffer)),
        'EINVAL',
      );
    }
    assert.equal(memory.quarantined, 0);
    memory.close();
  });

  it('reuses what was freed instead of growing', () => {
    const memory = new MemfdMemory();
    const regions = () => readFileSync('/proc/self/maps', 'utf8').split('memfd:userdma').length - 1;
    const before = regions();
    for (let round = 0; round < 20; round++) {
      const buffers = Array.from({ length: 256 }, () => memory.allocate(8192));
      for (const buffer of buffers) memory.free(buffer);
    }
    assert.equal(regions(), before + 1);
    memory.close();
    assert.equal(regions(), before);
  });

  it('refuses what is no size, what is too large, and what is not its own', () => {
    const memory = new MemfdMemory();
    for (const size of [0, -1, 1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
      assert.equal(
        codeOf(() => memory.allocate(size)),
        'EINVAL',
      );
    }
    assert.equal(
      codeOf(() => memory.allocate(2 ** 50)),
      'ENOMEM',
    );
    assert.equal(
      codeOf(() => memory.free(new ArrayBuffer(8))),
      'EINVAL',
    );
    memory.close();
    memory.close();
    assert.equal(
      codeOf(() => memory.allocate(1)),
      'ENODEV',
    );
  });

  it('neither reuses nor crashes on a buffer marked untransferable, and has zeros behind it after close', () => {
    const expected = '{"foreign":0,"afterClose":0}';
    // From Node 24 on the runtime itself aborts at the end of an environment that holds such a buffer: there in a
    // process that exits without one.
    if (Number.parseInt(process.versions.node, 10) < 24) {
      assert.equal(JSON.stringify(markAndFree(MemfdMemory, markAsUntransferable)), expected);
      return;
    }
    const file = import.meta.url.endsWith('.ts') ? 'memfd.ts' : 'memfd.js';
    const url = new URL(`../../lib/memory/${file}`, import.meta.url).href;
    const outcome = runScript(`
      import(${JSON.stringify(url)}).then(({ MemfdMemory }) => {
        const { markAsUntransferable } = require('worker_threads');
        console.log(JSON.stringify((${markAndFree.toString()})(MemfdMemory, markAsUntransferable)));
        process.exit(0);
      });`);
    assert.deepEqual([outcome.status, outcome.stdout.trim()], [0, expected], outcome.stderr);
  });
});

/** Self-contained: it also runs in a child. Bytes that views of the marked buffers saw of somebody else. */
function markAndFree(Memory: typeof MemfdMemory, mark: (buffer: ArrayBuffer) => void) {
  const memory = new Memory();
  const buffers = [memory.allocate(4096), memory.allocate(4096)];
  const views = buffers.map((buffer) => new Uint8Array(buffer));
  buffers.forEach(mark);
  memory.free(buffers[0]!);
  for (let i = 0; i < 1000; i++) new Uint8Array(memory.allocate(4096)).fill(9);
  const foreign = views[0]!.length > 0 ? views[0]![0] : 0;
  if (views[1]!.length > 0) views[1]![0] = 7;
  memory.close();
  const afterClose = views[1]!.length > 0 ? views[1]![0] : 0;
  return { foreign, afterClose };
}

describeNative(
  'stolen memory',
  () => {
    it('is quarantined: the thief never sees another allocation, and zeros after close', () => {
      const memory = new MemfdMemory();
      const buffer = memory.allocate(4096) as ArrayBuffer & { transfer(): ArrayBuffer };
      new Uint8Array(buffer).fill(1);
      const stolen = new Uint8Array(buffer.transfer());
      memory.free(buffer);
      assert.equal(memory.quarantined, 4096);
      const others = Array.from({ length: 1000 }, () => new Uint8Array(memory.allocate(4096)).fill(2));
      assert.ok(stolen.every((byte) => byte === 1));
      stolen.fill(3);
      assert.ok(others.every((view) => view.every((byte) => byte === 2)));
      memory.close();
      assert.ok(stolen.every((byte) => byte === 0));
      stolen.fill(4);
    });
  },
  canTransfer ? undefined : 'Node 20 has no ArrayBuffer.prototype.transfer',
);
