/** dma-bufs on the real kernel: of memory that a device has mapped, in this process and in another. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Edu } from '../../examples/edu/driver.ts';
import {
  type CoherentBuffer,
  DmaHeapMemory,
  exportDmaBuf,
  importDmaBuf,
  MemfdMemory,
  openPci,
} from '../../lib/index.ts';
import { skipWithout, whyAbsent } from '../absent.ts';
import { afterAll, assert, beforeAll, describe, it } from '../harness.ts';
import { PAGE } from '../page.ts';
import { device, refuses } from './devices.ts';
import { descriptors, dmaBufs, heapMemory } from './dma-bufs.ts';

const PARAMETERS = '/sys/module/udmabuf/parameters';
const SHMEM_HUGE = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
const DEVICE_MEMORY = 0x40000n;

const openEdu = async (): Promise<Edu> => new Edu(await openPci(device('USERDMA_TEST_EDU')));

/** Runs `body` with a parameter of the driver changed. */
function withParameter(name: string, value: number, body: () => void): void {
  const path = `${PARAMETERS}/${name}`;
  withSetting(path, readFileSync(path, 'utf8'), String(value), body);
}

function withSetting(path: string, usual: string, value: string, body: () => void): void {
  writeFileSync(path, value);
  try {
    body();
  } finally {
    writeFileSync(path, usual);
  }
}

/** Runs `body` as an ordinary user. */
function asNobody(body: () => void): void {
  process.seteuid!(65534);
  try {
    body();
  } finally {
    process.seteuid!(0);
  }
}

function child(fd: number): { size: number; digest: string; left: number } {
  const script = fileURLToPath(new URL('dma-buf-child.js', import.meta.url));
  const run = spawnSync(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit', fd] });
  assert.equal(run.status, 0);
  return JSON.parse(run.stdout.toString());
}

describe('a dma-buf of the memory that a device has mapped', () => {
  let edu: Edu;
  let ring: CoherentBuffer;

  beforeAll(async () => {
    edu = await openEdu();
    ring = edu.fn.dma.allocCoherent(2 * PAGE);
  });
  afterAll(() => edu.close());

  it('shows another process what the device wrote, and the device what that wrote', async () => {
    skipWithout('udmabuf');
    const sent = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) % 251);
    await edu.write(sent);
    const before = dmaBufs();
    const dmaBuf = exportDmaBuf(ring.buffer);
    assert.deepEqual([dmaBuf.size, dmaBufs()], [2 * PAGE, before + 1]);
    await edu.writeAnywhere(ring.dmaAddress + BigInt(PAGE), sent.length);
    const expected = new Uint8Array(2 * PAGE);
    expected.set(sent, PAGE);
    const digest = createHash('sha256').update(expected).digest('hex');
    assert.deepEqual(child(dmaBuf.fd), { size: 2 * PAGE, digest, left: 0 });
    await edu.transfer(ring.dmaAddress + BigInt(PAGE), DEVICE_MEMORY, sent.length, 0);
    const inverted = sent.map((byte) => ~byte);
    assert.deepEqual(await edu.read(sent.length), inverted);
    dmaBuf.close();
    assert.equal(dmaBufs(), before);
  });

  it('can be of several pieces, in the order given', () => {
    skipWithout('udmabuf');
    const other = edu.fn.dma.allocCoherent(PAGE);
    ring.bytes.fill(1, 0, PAGE).fill(2, PAGE);
    other.bytes.fill(3);
    using dmaBuf = exportDmaBuf([other.buffer, ring.bytes.subarray(PAGE), ring.bytes.subarray(0, PAGE)]);
    const bytes = new Uint8Array(dmaBuf.map());
    dmaBuf.beginCpuAccess('from-device');
    assert.deepEqual(
      [0, PAGE - 1, PAGE, 2 * PAGE - 1, 2 * PAGE, 3 * PAGE - 1].map((i) => bytes[i]),
      [3, 3, 2, 2, 1, 1],
    );
    dmaBuf.endCpuAccess('from-device');
    assert.equal(dmaBuf.map().byteLength, 3 * PAGE);
    assert.equal(dmaBuf.map(), bytes.buffer, 'mapped once');
    other.free();
  });

  it('can be of noncoherent memory and of the memory of a pool', () => {
    skipWithout('udmabuf');
    const buffer = edu.fn.dma.allocNoncoherent(PAGE, 'from-device');
    const pool = edu.fn.dma.createPool('blocks', { size: 64, align: 64 });
    const block = pool.alloc()!;
    for (const bytes of [buffer.bytes, block.bytes]) {
      bytes[7] = 0x42;
      using dmaBuf = exportDmaBuf(bytes.buffer);
      assert.equal(new Uint8Array(dmaBuf.map())[bytes.byteOffset + 7], 0x42);
    }
    block.free();
    pool.destroy();
    buffer.free();
  });

  it('keeps its pages when they are freed: the device that is given memory then gets others', async () => {
    skipWithout('udmabuf');
    const doomed = edu.fn.dma.allocCoherent(PAGE);
    const address = doomed.dmaAddress;
    doomed.bytes.fill(0x55);
    using dmaBuf = exportDmaBuf(doomed.buffer);
    doomed.free();
    using next = edu.fn.dma.allocCoherent(PAGE);
    assert.equal(next.dmaAddress, address, 'at the same address');
    await edu.write(new Uint8Array(4000).fill(0xaa));
    await edu.writeAnywhere(next.dmaAddress, 4000);
    assert.equal(next.bytes[3999], 0xaa);
    dmaBuf.beginCpuAccess('from-device');
    assert.ok(new Uint8Array(dmaBuf.map()).every((byte) => byte === 0x55));
    dmaBuf.endCpuAccess('from-device');
  });

  it('keeps them too when another process has it and this one has closed it', () => {
    skipWithout('udmabuf');
    const doomed = edu.fn.dma.allocCoherent(PAGE);
    doomed.bytes.fill(0x77);
    const dmaBuf = exportDmaBuf(doomed.buffer);
    const elsewhere = importDmaBuf(dmaBuf.fd); // as another process would
    dmaBuf.close();
    doomed.free();
    for (let i = 0; i < 20; i++) edu.fn.dma.allocCoherent(PAGE).bytes.fill(0x11);
    assert.ok(new Uint8Array(elsewhere.map()).every((byte) => byte === 0x77));
    elsewhere.close();
  });

  it('keeps them, cleared, where the kernel makes huge pages of memfds, of which no part can be replaced', () => {
    skipWithout('udmabuf');
    withSetting(SHMEM_HUGE, 'never', 'always', () => {
      const memory = new MemfdMemory();
      const doomed = memory.allocate(2 * PAGE);
      new Uint8Array(doomed).fill(0x33);
      using dmaBuf = exportDmaBuf(doomed);
      memory.free(doomed);
      for (let i = 0; i < 255; i++) new Uint8Array(memory.allocate(2 * PAGE)).fill(0x11);
      assert.ok(
        new Uint8Array(dmaBuf.map()).every((byte) => byte !== 0x11),
        'nobody was given the pages',
      );
      assert.equal(memory.quarantined, 2 * PAGE);
      memory.close();
    });
  });

  it('is refused for what is not whole pages of live memory', () => {
    const odd = edu.fn.dma.allocCoherent(100);
    for (const part of [odd.buffer, ring.bytes.subarray(1, PAGE + 1), ring.bytes.subarray(0, 100)]) {
      refuses(() => exportDmaBuf(part), 'EINVAL', 'not whole pages', `multiple of ${PAGE}`);
    }
    odd.free();
    refuses(() => exportDmaBuf(odd.buffer), 'EINVAL', 'not freed');
    refuses(() => exportDmaBuf([]), 'EINVAL', 'at least one');
    refuses(() => exportDmaBuf(new Uint8Array(PAGE)), 'EINVAL', 'allocCoherent');
  });

  it('is refused beyond the limits of the driver, which the error names', () => {
    skipWithout('udmabuf');
    withParameter('list_limit', 2, () => {
      const pages = [ring.bytes.subarray(0, PAGE), ring.bytes.subarray(PAGE)];
      exportDmaBuf(pages).close();
      refuses(() => exportDmaBuf([...pages, pages[0]!]), 'EINVAL', '3 pieces', 'at most 2', 'list_limit=3');
    });
    withParameter('size_limit_mb', 1, () => {
      using large = edu.fn.dma.allocCoherent(2 ** 20 + PAGE);
      exportDmaBuf(large.bytes.subarray(0, 2 ** 20)).close();
      refuses(
        () => exportDmaBuf(large.buffer),
        'EINVAL',
        `${2 ** 20 + PAGE} bytes`,
        '1 MiB',
        'size_limit_mb=2',
      );
    });
  });

  it('is refused to a user without permission, with the udev rule', () => {
    skipWithout('udmabuf');
    asNobody(() => {
      refuses(() => exportDmaBuf(ring.buffer), 'EACCES', 'KERNEL=="udmabuf", OWNER=');
      if (whyAbsent('dma-heap') === undefined)
        refuses(() => new DmaHeapMemory(), 'EACCES', 'SUBSYSTEM=="dma_heap", KERNEL=="system"');
    });
  });
});

describe('a dma-buf in this process', () => {
  it('is of whoever has a descriptor, each with one of its own', () => {
    const memory = heapMemory();
    const buffer = memory.allocate(5000);
    const whole = Math.ceil(5000 / PAGE) * PAGE;
    const first = memory.exportDmaBuf(buffer);
    const second = importDmaBuf(first.fd);
    assert.notEqual(first.fd, second.fd);
    assert.deepEqual([first.size, second.size, buffer.byteLength], [whole, whole, 5000]);
    memory.close();
    first.close();
    first.close();
    const view = new Uint8Array(second.map()).fill(1);
    second.close();
    assert.deepEqual([first.closed, second.closed, view.length], [true, true, 0]);
    refuses(() => second.map(), 'ENODEV', 'closed');
    refuses(() => second.fd, 'ENODEV');
    refuses(() => second.beginCpuAccess('to-device'), 'ENODEV');
  });

  it('is handed over in pairs', () => {
    const memory = heapMemory();
    using dmaBuf = memory.exportDmaBuf(memory.allocate(4096));
    refuses(() => dmaBuf.endCpuAccess('from-device'), 'EINVAL', 'beginCpuAccess');
    dmaBuf.beginCpuAccess('from-device');
    dmaBuf.beginCpuAccess('to-device');
    dmaBuf.endCpuAccess('to-device');
    dmaBuf.endCpuAccess('from-device');
    refuses(() => dmaBuf.endCpuAccess('from-device'), 'EINVAL');
    const wrong = 'from_device' as 'from-device';
    refuses(() => dmaBuf.beginCpuAccess(wrong), 'EINVAL', 'direction');
    memory.close();
  });

  it('leaves a thief of its bytes zeros, and no descriptor behind', () => {
    const before = descriptors().length;
    const memory = heapMemory();
    const dmaBuf = memory.exportDmaBuf(memory.allocate(4096));
    new Uint8Array(dmaBuf.map()).fill(9);
    const buffer = dmaBuf.map() as ArrayBuffer & { transfer?(): ArrayBuffer };
    const stolen = buffer.transfer?.();
    dmaBuf.close();
    memory.close();
    if (stolen !== undefined) assert.ok(new Uint8Array(stolen).every((byte) => byte === 0));
    assert.equal(descriptors().length, before);
  });

  it('is not what any other descriptor is', () => {
    const file = openSync('/proc/self/exe', 'r');
    for (const fd of [0, file]) refuses(() => importDmaBuf(fd), 'EINVAL', 'no file descriptor of a dma-buf');
    closeSync(file);
    refuses(() => importDmaBuf(file), 'EBADF', 'not open');
    for (const junk of [-1, 0.5, Number.NaN, 2 ** 32, '3', null]) {
      refuses(() => importDmaBuf(junk as number), 'EINVAL', 'VIDIOC_EXPBUF');
    }
  });
});
