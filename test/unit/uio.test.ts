/** UIO devices from a recorded /sys and /dev: one error each for what can be wrong, and registers where they should be. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DmaError, type ErrnoName } from '../../lib/errors.ts';
import { openUio } from '../../lib/index.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import { PC_MEMORY, SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';
import { PlatformDevice } from '../../lib/uio/platform-device.ts';
import { eventCount, findUio } from '../../lib/uio/sysfs.ts';
import { describeNative } from '../native/support.ts';

const CLASS = '/sys/class/uio';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-uio-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(root + path), { recursive: true });
  writeFileSync(root + path, content);
}

/** Files of `mapK` as the kernel prints them; undefined leaves one out. */
interface MapFiles {
  readonly addr?: string | undefined;
  readonly size?: string | undefined;
  readonly offset?: string | undefined;
  readonly name?: string | undefined;
}

function uio(node: string, name: string, maps: Record<number, MapFiles> = {}): void {
  file(`${CLASS}/${node}/name`, `${name}\n`);
  file(`${CLASS}/${node}/event`, '41\n');
  for (const [index, map] of Object.entries(maps)) {
    const files = { addr: '0x0000000043c00000', size: '0x0000000000001000', offset: '0x0', name: '', ...map };
    for (const [key, text] of Object.entries(files)) {
      if (text !== undefined) file(`${CLASS}/${node}/maps/map${index}/${key}`, `${text}\n`);
    }
  }
}

function refuses(action: () => unknown, code: ErrnoName, ...words: string[]): void {
  let error: unknown;
  try {
    action();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(DmaError);
  const { code: got, message } = error as DmaError;
  expect([got, message]).toEqual([code, message]);
  for (const word of words) expect(message).toContain(word);
}

describe('a UIO device', () => {
  it('is found by its node and by its name', () => {
    uio('uio0', 'dma');
    uio('uio1', 'adc', { 0: { name: 'control' } });
    const expected = {
      node: 'uio1',
      name: 'adc',
      maps: [{ index: 0, name: 'control', address: 0x43c0_0000n, offset: 0, size: 4096 }],
    };
    expect(findUio('uio1', root)).toEqual(expected);
    expect(findUio('adc', root)).toEqual(expected);
  });

  it('is the node when another device has its name', () => {
    uio('uio0', 'uio1');
    uio('uio1', 'adc');
    expect(findUio('uio1', root).name).toBe('adc');
  });

  it('has maps by number, gaps and all, without the part before the device', () => {
    const size = '0x0000000000002000';
    uio('uio0', 'x', { 10: {}, 2: { addr: '0xfffffffff0000000', size, offset: '0x10' } });
    expect(findUio('uio0', root).maps).toEqual([
      { index: 2, name: '', address: 0xffff_ffff_f000_0000n, offset: 0x10, size: 0x1ff0 },
      { index: 10, name: '', address: 0x43c0_0000n, offset: 0, size: 4096 },
    ]);
  });

  it('is not there: the others are named, or what makes one', () => {
    refuses(() => findUio('uio0', root), 'ENODEV', 'modprobe uio_pdrv_genirq', 'uio_pci_generic');
    uio('uio3', 'dma');
    uio('uio4', '');
    refuses(() => findUio('uio0', root), 'ENODEV', '"uio0"', 'uio3 (dma), uio4');
    for (const bad of ['', '.', '..', '../uio/uio3', 'uio3/', undefined, 5]) {
      refuses(() => findUio(bad as string, root), 'ENODEV');
    }
  });

  it('is ambiguous by a name that several have', () => {
    for (const node of ['uio0', 'uio1', 'uio2']) uio(node, node === 'uio1' ? 'adc' : 'dma');
    refuses(() => findUio('dma', root), 'EINVAL', '2 UIO devices', 'uio0, uio2');
  });

  for (const [what, map, words] of [
    ['a size that is no number', { size: '4096 bytes' }, 'size'],
    ['a negative size', { size: '-1' }, 'size'],
    ['an empty size', { size: '' }, 'size'],
    ['no size', { size: undefined }, 'missing'],
    ['a size beyond all numbers', { size: '0xffffffffffffffff' }, 'size'],
    ['size 0', { size: '0x0' }, 'offset'],
    ['an offset past the end', { offset: '0x1000' }, 'offset'],
    ['an address that is no number', { addr: '0xzz' }, 'addr'],
  ] as const) {
    it(`is refused when /sys gives a map ${what}`, () => {
      uio('uio0', 'x', { 0: map });
      refuses(() => findUio('uio0', root), 'EIO', 'makes no sense', words, 'kernel driver');
    });
  }

  it('says how many interrupts it has had', () => {
    uio('uio0', 'x');
    expect(eventCount('uio0', root)).toBe(41);
    for (const text of ['4294967296', 'x', '']) {
      file(`${CLASS}/uio0/event`, text);
      refuses(() => eventCount('uio0', root), 'EIO', 'event');
    }
    refuses(() => eventCount('uio1', root), 'ENODEV', 'gone');
  });
});

describeNative('opening a UIO device', (addon) => {
  const page = addon.pageSize();
  const node = '/dev/uio0';
  const hex = (value: number): string => `0x${value.toString(16)}`;

  it('gives each map as registers of exactly its size', () => {
    uio('uio0', 'x', { 0: { size: hex(page) }, 1: { size: hex(2 * page), offset: '0x10' } });
    file(node, new Uint8Array(3 * page));
    using device = openUio('x', { root });
    const registers = device.registers(1);
    expect([registers.size, device.registers().size]).toEqual([2 * page - 16, page]);
    registers.write32(0, 0x0102_0304);
    registers.write64LoHi(2 * page - 24, 0x0807_0605_0403_0201n);
    registers.write8(4, -1);
    device.registers(0).write16(2, 0xbeef);
    const bytes = readFileSync(root + node);
    expect(bytes.readUInt32LE(page + 16)).toBe(0x0102_0304);
    expect(bytes.readBigUInt64LE(3 * page - 8)).toBe(0x0807_0605_0403_0201n);
    expect([bytes[page + 20], bytes.readUInt16LE(2)]).toEqual([0xff, 0xbeef]);
    const sequence = registers.sequence([
      ['write32', 8, 0x1112_1314],
      ['read16', 10],
      ['read64', 2 * page - 24],
    ]);
    sequence.run();
    expect([sequence.get(1), sequence.get64(2)]).toEqual([0x1112, 0x0807_0605_0403_0201n]);
    expect(readFileSync(root + node).readUInt32LE(page + 24)).toBe(0x1112_1314);
    refuses(() => registers.sequence([['read32', 2 * page - 16]]), 'EINVAL', 'map 1 of uio0', 'outside');
    refuses(() => registers.read8(2 * page - 16), 'EINVAL', 'map 1 of uio0', 'outside');
    refuses(() => registers.write8(0, 256), 'EINVAL', '8-bit register');
    refuses(() => registers.write64(0, 2n ** 64n), 'EINVAL', '64-bit register');
    refuses(() => device.registers(2), 'EINVAL', 'it has 0, 1');
    device.close();
    refuses(() => registers.read8(0), 'ENODEV', 'map 1 of uio0');
    refuses(() => sequence.run(), 'ENODEV', 'step 0 of 3', 'map 1 of uio0');
    refuses(() => registers.sequence([['read8', 0]]), 'ENODEV', 'map 1 of uio0');
    refuses(() => device.registers(0), 'ENODEV', 'uio0 is closed');
  });

  it('says that the device does not answer, when it does not', () => {
    uio('uio0', 'x', { 0: { size: hex(page) } });
    file(node, '');
    using device = openUio('uio0', { root });
    refuses(() => device.registers().read32(0), 'EIO', 'map 0 of uio0', 'without clock or power');
  });

  it('refuses a map whose registers lie where no 64-bit access can be', () => {
    uio('uio0', 'x', { 0: { size: hex(page), offset: '0x4' } });
    file(node, new Uint8Array(page));
    using device = openUio('uio0', { root });
    refuses(() => device.registers(), 'EIO', 'multiple of 8');
  });

  it('says that the node is missing, or is none of UIO', () => {
    uio('uio0', 'x');
    refuses(() => openUio('uio0', { root }), 'ENODEV', `there is no ${root}/dev/uio0`, '--device=');
    file(node, '');
    using device = openUio('uio0', { root });
    refuses(() => device.interrupt, 'EPERM', 'cannot be watched', 'is a UIO device');
  });

  it('takes memory that has addresses, and gives the DMA API on it', () => {
    uio('uio0', 'adc');
    file(node, '');
    const addressSpace = new SimulatedAddressSpace({ ranges: PC_MEMORY, mappingLimit: 10 });
    const memory = new SimulatedPhysicalMemory({ heap: new HeapMemory(), addressSpace });
    const device = openUio('uio0', { root, dma: { memory } });
    expect(device.dma.name).toBe('uio0 (adc)');
    const { dma } = device;
    const ring = dma.allocCoherent(100);
    device.close();
    expect(ring.bytes.length).toBe(0);
    refuses(() => dma.allocCoherent(1), 'ENODEV');
    refuses(() => device.dma, 'ENODEV', 'uio0 is closed');
  });

  it('says of what there is too little when a map cannot be had', () => {
    uio('uio0', 'x', { 0: { size: hex(page) } });
    file(node, new Uint8Array(page));
    for (const [errno, code, remedy] of [
      [-24, 'EMFILE', 'ulimit -n'],
      [-12, 'ENOMEM', 'ulimit -v'],
      [-6, 'EIO', 'page-aligned'],
    ] as const) {
      const native = { ...addon, fileWindowOpen: () => errno };
      const fd = openSync(root + node, 'r+');
      const facts = findUio('uio0', root);
      using device = new PlatformDevice({ native, facts, fd, dma: undefined, root });
      refuses(() => device.registers(), code, 'map 0 of uio0', remedy);
    }
  });

  it('lets everything go also when its memory fails to', () => {
    uio('uio0', 'adc', { 0: { size: hex(page) } });
    file(node, new Uint8Array(page));
    const before = readdirSync('/proc/self/fd').length;
    const addressSpace = new SimulatedAddressSpace({ ranges: PC_MEMORY, mappingLimit: 10 });
    const memory = new SimulatedPhysicalMemory({ heap: new HeapMemory(), addressSpace });
    memory.close = () => {
      throw new DmaError('EIO', 'stuck');
    };
    const device = openUio('uio0', { root, dma: { memory } });
    const registers = device.registers();
    refuses(() => device.close(), 'EIO', 'stuck');
    refuses(() => registers.read8(0), 'ENODEV');
    expect(readdirSync('/proc/self/fd').length).toBe(before);
    device.close();
  });

  it('says that its driver is not bound, when the node is empty', async () => {
    uio('uio0', 'x');
    mkdirSync(`${root}/dev`);
    const server = createServer().listen(root + node); // opening a socket fails as opening such a node does
    await once(server, 'listening');
    refuses(() => openUio('uio0', { root }), 'ENODEV', 'no device behind it (ENXIO)', 'driver is bound');
    server.close();
  });

  it('hands on what the node counts, and its end', async () => {
    uio('uio0', 'x');
    file(`${CLASS}/uio0/event`, '0');
    mkdirSync(`${root}/dev`);
    execFileSync('mkfifo', [root + node]); // what is written to let the line fire again reads as a count of 1
    using device = openUio('uio0', { root });
    const { interrupt } = device;
    expect(device.interrupt).toBe(interrupt);
    expect(await interrupt.wait()).toBe(1);
    const kernel = openSync(root + node, 'r+');
    const wait = interrupt.wait();
    writeSync(kernel, new Uint8Array(Uint32Array.of(8).buffer));
    expect([await wait, interrupt.count]).toEqual([7, 8]);
    const last = interrupt.wait();
    writeSync(kernel, Uint8Array.of(0));
    await expect(last).rejects.toMatchObject({ code: 'ENODEV', syscall: 'read' });
    closeSync(kernel);
  });
});
