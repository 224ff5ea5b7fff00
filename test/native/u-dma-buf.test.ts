/**
 * A u-dma-buf as memory, on files that stand for /sys and /dev: what is mapped, what is handed out, what is refused, and
 * that nothing is left of what was refused.
 */
import {
  chmodSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DmaDevice, DmaError, dmaBitMask, openUDmaBuf } from '../../lib/index.ts';
import { UDmaBufMemory } from '../../lib/memory/u-dma-buf.ts';
import type { OpenUDmaBufOptions } from '../../lib/memory/u-dma-buf-open.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { type Attributes, plant } from '../conformance/u-dma-buf-fixture.ts';
import { afterEach, assert, beforeEach, it } from '../harness.ts';
import { describeNative } from './support.ts';

const NAME = 'udmabuf0';
const PAGE = 4096;
const MIB = 2 ** 20;
const INCOHERENT: Attributes = { dma_coherent: '0' };

let root: string;
let opened: UDmaBufMemory[];

function fixtures(): void {
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'userdma-u-dma-buf-'));
    opened = [];
  });
  afterEach(() => {
    for (const memory of opened) memory.close();
    rmSync(root, { recursive: true });
  });
}

function open(options: OpenUDmaBufOptions = {}): UDmaBufMemory {
  const memory = openUDmaBuf(NAME, { root, ...options });
  opened.push(memory);
  return memory;
}

function refused(code: string, message: RegExp, action: () => unknown = () => open()): void {
  assert.throws(action, (error: unknown) => {
    assert.ok(error instanceof DmaError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

const node = () => join(root, 'dev', NAME);

function attribute(name: string): string {
  return readFileSync(join(root, 'sys/class/u-dma-buf', NAME, name), 'utf8').split('\n', 1)[0]!;
}

/** A byte of the buffer as the device would see it. */
function inFile(offset: number): number {
  const byte = new Uint8Array(1);
  const fd = openSync(node(), 'r');
  readSync(fd, byte, 0, 1, offset);
  return byte[0]!;
}

const descriptors = () => readdirSync('/proc/self/fd').length;

/** Of the descriptors of the node: how many have O_SYNC. */
function synchronous(): number {
  const flags = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) !== realpathSync(node())) return [];
      return /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
    } catch {
      return []; // the one that the folder was read by
    }
  });
  return flags.filter((one) => (Number.parseInt(one, 8) & 0o4000000) !== 0).length;
}

/** Runs as somebody who is not root. */
function unprivileged(action: () => void): void {
  const root = process.geteuid?.() === 0;
  if (root) process.seteuid!(65_534);
  try {
    action();
  } finally {
    if (root) process.seteuid!(0);
  }
}

describeNative('the node of a u-dma-buf', (addon) => {
  fixtures();

  it('is mapped shared, carved zeroed, and gone when revoked', () => {
    plant(root, NAME);
    const region = addon.uDmaBufOpen(node(), 2 * PAGE, false, false);
    assert.equal(addon.regionSize(region), 2 * PAGE);
    const fd = openSync(node(), 'r+');
    writeSync(fd, new Uint8Array(2 * PAGE).fill(0xee));
    const bytes = new Uint8Array(addon.regionCarve(region, PAGE, 10) as ArrayBuffer);
    assert.deepEqual([inFile(PAGE - 1), inFile(PAGE), inFile(2 * PAGE - 1)], [0xee, 0, 0]);
    bytes[3] = 7;
    assert.equal(inFile(PAGE + 3), 7);
    assert.equal(addon.regionRevoke(region), 0);
    bytes.fill(9);
    assert.equal(inFile(PAGE + 3), 7, 'a view that is left reaches nothing');
    assert.equal(addon.uDmaBufSync(region, 0, 1, 0, true), -9);
  });

  it('is opened close-on-exec, and with O_SYNC when it is to be uncached', () => {
    plant(root, NAME);
    for (const [uncached, sync] of [
      [false, 0],
      [true, 0o4000000],
    ] as const) {
      const region = addon.uDmaBufOpen(node(), PAGE, uncached, false);
      const info = readFileSync(`/proc/self/fdinfo/${addon.regionFd(region)}`, 'utf8');
      const flags = Number.parseInt(/flags:\s+(\d+)/.exec(info)![1]!, 8);
      assert.equal(flags & 0o2000000, 0o2000000, 'O_CLOEXEC');
      assert.equal(flags & 0o4000000, sync, 'O_SYNC');
      addon.regionRevoke(region);
    }
  });

  it('is locked by one at a time, until that one is gone', () => {
    plant(root, NAME);
    const first = addon.uDmaBufOpen(node(), PAGE, false, true);
    assert.ok(first > 0);
    assert.equal(addon.uDmaBufOpen(node(), PAGE, false, true), -16);
    const beside = addon.uDmaBufOpen(node(), PAGE, true, false);
    assert.ok(beside > 0);
    addon.regionRevoke(first);
    const second = addon.uDmaBufOpen(node(), PAGE, false, true);
    assert.ok(second > 0);
    addon.regionRevoke(second);
    addon.regionRevoke(beside);
  });

  it('answers bad arguments and files that are none with an errno, and leaves nothing open', () => {
    plant(root, NAME);
    const before = descriptors();
    const answers: [number, number][] = [
      [addon.uDmaBufOpen(join(root, 'dev/none'), PAGE, false, false), -2],
      [addon.uDmaBufOpen(node(), 0, false, false), -22],
      [addon.uDmaBufOpen(node(), PAGE + 1, false, false), -22],
      [addon.uDmaBufOpen(node(), 2 * MIB, false, true), -6],
      [addon.uDmaBufOpen(root, PAGE, false, false), -21],
      [addon.uDmaBufOpen(`${node()}\0`, PAGE, false, false), -22],
      [addon.uDmaBufOpen(node(), PAGE, 1 as unknown as boolean, false), -22],
    ];
    for (const [index, [got, wanted]] of answers.entries()) assert.equal(got, wanted, `answer ${index}`);
    assert.equal(descriptors(), before);
  });

  it('takes the ioctls of the module only, and their ranges whole', () => {
    plant(root, NAME);
    const region = addon.uDmaBufOpen(node(), PAGE, false, false);
    const notTheModule = -25;
    assert.equal(addon.uDmaBufInfo(region), notTheModule);
    assert.equal(addon.uDmaBufSync(region, 2 ** 52, 2 ** 52, 2, true), notTheModule);
    assert.equal(addon.uDmaBufSetMode(region, 7), notTheModule);
    assert.equal(addon.uDmaBufExport(region, 0, PAGE), notTheModule);
    for (const bad of [
      addon.uDmaBufSync(region, 0, 0, 0, true),
      addon.uDmaBufSync(region, 0, 1, 3, true),
      addon.uDmaBufSync(region, -1, 1, 0, true),
      addon.uDmaBufSync(region, 0, 2 ** 53, 0, true),
      addon.uDmaBufSetMode(region, 0),
      addon.uDmaBufSetMode(region, 8),
      addon.uDmaBufExport(region, 0, 0),
    ]) {
      assert.equal(bad, -22);
    }
    addon.regionRevoke(region);
    for (const call of [
      addon.uDmaBufInfo(region),
      addon.uDmaBufSetMode(region, 1),
      addon.uDmaBufExport(region, 0, 1),
    ]) {
      assert.equal(call, -9);
    }
  });
});

describeNative('memory of a u-dma-buf', () => {
  fixtures();

  it('is handed out from the top, aligned by its address, zeroed, and is what the device sees there', () => {
    plant(root, NAME, { phys_addr: '0x12345000', size: String(MIB) });
    writeFileSync(node(), new Uint8Array(MIB).fill(0xee));
    const memory = open();
    const start = 0x1234_5000;
    assert.deepEqual(memory.ranges, [{ start, end: start + MIB - 1 }]);
    assert.equal(memory.highest, start + MIB - 1);
    let below = start + MIB;
    for (const pages of [1, 1, 3, 5, 16, 2]) {
      const buffer = memory.allocate(pages * PAGE - 5);
      const address = memory.addressOf(buffer);
      assert.equal(address % (2 ** Math.ceil(Math.log2(pages)) * PAGE), 0, `${pages} pages`);
      assert.ok(address >= start && address + pages * PAGE <= start + MIB);
      if (pages === 1) assert.equal(address, below - PAGE);
      below = Math.min(below, address);
      assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
      assert.equal(inFile(address - start + pages * PAGE - 1), 0, 'to the end of the last page');
      new Uint8Array(buffer).fill(pages);
      assert.equal(inFile(address - start), pages);
    }
  });

  it('is limited: below an address, by what is there, and in one piece', () => {
    plant(root, NAME, { size: String(4 * PAGE) });
    const memory = open();
    const { start } = memory.ranges[0]!;
    for (const limit of [0, start, start + PAGE - 2]) {
      refused('ENOMEM', /no 1 bytes in one piece at or below address/, () => memory.allocateBelow(1, limit));
    }
    const low = memory.allocateBelow(1, start + PAGE - 1);
    assert.equal(memory.addressOf(low), start);
    refused(
      'ENOMEM',
      /no 16385 bytes in one piece \(udmabuf0 has 16384 bytes from address 0x100000, 12288 free\); .*modprobe u-dma-buf udmabuf0=BYTES/,
      () => memory.allocate(4 * PAGE + 1),
    );
    refused('ENOMEM', /no 12288 bytes/, () => memory.allocate(3 * PAGE));
    memory.allocate(2 * PAGE);
    memory.allocate(PAGE);
    refused('ENOMEM', /no 1 bytes/, () => memory.allocate(1));
    assert.equal(memory.available, 0);
    for (const size of [0, -1, 0.5, Number.NaN, 2 ** 53, '1' as unknown as number]) {
      refused('EINVAL', /the size of an allocation/, () => memory.allocate(size));
    }
  });

  it('never has address 0', () => {
    plant(root, NAME, { phys_addr: '0x0', size: String(3 * PAGE) });
    const memory = open();
    assert.deepEqual(memory.ranges, [{ start: PAGE, end: 3 * PAGE - 1 }]);
    const high = memory.allocate(PAGE);
    const low = memory.allocate(PAGE);
    assert.deepEqual([memory.addressOf(high), memory.addressOf(low)], [2 * PAGE, PAGE]);
    new Uint8Array(low).fill(5);
    assert.deepEqual([inFile(PAGE - 1), inFile(PAGE)], [0, 5]);
    refused('ENOMEM', /0 free/, () => memory.allocate(1));
  });

  it('can be one allocation, wherever a buffer beyond 1 MiB begins', () => {
    plant(root, NAME, { phys_addr: '0x300000', size: String(4 * MIB) });
    const memory = open();
    const all = memory.allocate(4 * MIB);
    assert.equal(memory.addressOf(all), 0x30_0000);
    memory.free(all);
    const two = memory.allocate(2 * MIB);
    assert.equal(memory.addressOf(two) % (2 * MIB), 0, 'where it can be it is aligned to its size');
  });

  it('is dead when it is freed, and used again', () => {
    plant(root, NAME, { size: String(PAGE) });
    const memory = open();
    for (let round = 0; round < 3; round++) {
      const buffer = memory.allocate(100);
      const view = new Uint8Array(buffer).fill(1);
      memory.free(buffer);
      assert.equal(view.length, 0);
      refused('EINVAL', /not a live allocation/, () => memory.free(buffer));
      refused('EINVAL', /not a live allocation/, () => memory.addressOf(buffer));
    }
  });

  it('is kept out of reuse where somebody else has it', () => {
    if (!('transfer' in ArrayBuffer.prototype)) return; // Node 20: such buffers cannot be taken away
    plant(root, NAME, { size: String(2 * PAGE) });
    const memory = open();
    const stolen = memory.allocate(PAGE) as ArrayBuffer & { transfer(): ArrayBuffer };
    const thief = new Uint8Array(stolen.transfer());
    memory.free(stolen);
    assert.equal(memory.quarantined, PAGE);
    const last = new Uint8Array(memory.allocate(PAGE));
    thief.fill(9);
    assert.ok(last.every((byte) => byte === 0));
    refused('ENOMEM', /0 free/, () => memory.allocate(1));
    memory.close();
    thief.fill(8);
    assert.equal(inFile(PAGE), 9, 'after close a stolen view reaches nothing');
  });

  it('is revoked by close, which gives the lock back and may be called twice', () => {
    plant(root, NAME);
    const before = descriptors();
    const memory = open();
    const view = new Uint8Array(memory.allocate(PAGE));
    memory.close();
    memory.close();
    assert.equal(view.length, 0);
    assert.equal(descriptors(), before);
    refused('ENODEV', /closed/, () => memory.allocate(1));
    open();
  });

  it('serves a device by the direct operations', () => {
    plant(root, NAME);
    const memory = open();
    const dma = new DmaDevice({ name: 'board', memory, cache: memory.cache, bounce: { total: 2 ** 18 } });
    assert.equal(dma.requiredMask, dmaBitMask(21));
    using ring = dma.allocCoherent(5000);
    assert.equal(ring.dmaAddress, BigInt(memory.addressOf(ring.buffer)));
    const foreign = new Uint8Array(300).fill(5);
    using mapping = dma.mapSingle(foreign, 'to-device');
    assert.equal(mapping.way, 'bounced');
    assert.equal(inFile(Number(mapping.dmaAddress) - 0x10_0000), 5);
    dma.close();
    refused('ENODEV', /closed/, () => memory.allocate(1));
  });

  it('is exported only by a module that can', () => {
    plant(root, NAME);
    const memory = open();
    const buffer = memory.allocate(PAGE);
    refused('EOPNOTSUPP', /ioctl_version 2/, () => memory.exportDmaBuf(buffer));
    refused('EINVAL', /not a live allocation/, () => memory.exportDmaBuf(new ArrayBuffer(8)));
    memory.free(buffer);
    assert.equal(memory.quarantined, 0);
  });
});

describeNative('a dma-buf of a u-dma-buf', () => {
  fixtures();

  it('that cannot be taken on keeps no memory out of use, and no descriptor', () => {
    plant(root, NAME);
    const addon = loadAddon();
    const map = () => addon.uDmaBufOpen(node(), PAGE, false, false);
    const parts = { device: NAME, address: MIB, size: PAGE, control: map(), coherent: map(), lineSize: 64 };
    const memory = new UDmaBufMemory({ ...addon, uDmaBufExport: () => openSync('/dev/null', 'r') }, parts);
    opened.push(memory);
    const buffer = memory.allocate(PAGE);
    const before = descriptors();
    refused('EINVAL', /no file descriptor of a dma-buf/, () => memory.exportDmaBuf(buffer));
    assert.equal(descriptors(), before);
    memory.free(buffer);
    assert.deepEqual([memory.quarantined, memory.available], [0, PAGE]);
  });
});

describeNative('memory of a u-dma-buf whose device does not see the caches', () => {
  fixtures();

  it('is synced by range of the buffer, in the direction that the module knows', () => {
    plant(root, NAME, INCOHERENT);
    const before = descriptors();
    const memory = open();
    const { cache } = memory;
    assert.ok(cache !== undefined);
    memory.allocate(PAGE);
    const buffer = memory.allocate(1000, 'noncoherent');
    const at = memory.addressOf(buffer) - 0x10_0000;
    cache.syncForDevice(buffer, 3, 7, 'to-device');
    const range = () => [attribute('sync_offset'), attribute('sync_size'), attribute('sync_direction')];
    assert.deepEqual(range(), [String(at + 3), '7', '1']);
    cache.syncForCpu(buffer, 999, 1, 'from-device');
    assert.deepEqual(range(), [String(at + 999), '1', '2']);
    cache.syncForCpu(buffer, 0, 1000, 'bidirectional');
    assert.deepEqual(range(), [String(at), '1000', '0']);
    memory.close();
    assert.equal(descriptors(), before);
  });

  it('is not lost when the module refuses to sync', () => {
    plant(root, NAME);
    const addon = loadAddon();
    const map = () => addon.uDmaBufOpen(node(), PAGE, false, false);
    let refusals = 1;
    const memory = new UDmaBufMemory(addon, {
      device: NAME,
      address: MIB,
      size: PAGE,
      control: map(),
      coherent: map(),
      cached: map(),
      lineSize: 64,
      channel: {
        sync: () => {
          if (refusals-- > 0) throw new DmaError('EIO', 'refused');
        },
        close: () => {},
      },
    });
    opened.push(memory);
    refused('EIO', /refused/, () => memory.allocate(PAGE));
    assert.equal(memory.available, PAGE);
    memory.allocate(PAGE);
  });

  it('refuses to sync what is not inside an allocation', () => {
    plant(root, NAME, INCOHERENT);
    const memory = open();
    const buffer = memory.allocate(1000, 'noncoherent');
    const sync = memory.cache!.syncForDevice;
    const before = attribute('sync_offset');
    for (const [offset, size] of [
      [0, 0],
      [0, 1001],
      [1000, 1],
      [-1, 1],
      [0.5, 1],
      [1, Number.NaN],
    ] as const) {
      refused('EINVAL', /bytes at offset .* of 1000 bytes; sync a part/, () =>
        sync(buffer, offset, size, 'to-device'),
      );
    }
    refused('EINVAL', /the direction is the string 'none'; pass 'to-device'/, () =>
      sync(buffer, 0, 1, 'none' as 'to-device'),
    );
    refused('EINVAL', /not a live allocation/, () => sync(new ArrayBuffer(8), 0, 1, 'to-device'));
    assert.equal(attribute('sync_offset'), before);
  });

  it('has left the cache before it is handed out, and is not synced where it is uncached', () => {
    plant(root, NAME, INCOHERENT);
    const memory = open();
    const buffer = memory.allocate(PAGE + 1);
    const at = String(memory.addressOf(buffer) - 0x10_0000);
    const state = () => ['sync_offset', 'sync_size', 'sync_for_device', 'sync_for_cpu'].map(attribute);
    assert.deepEqual(state(), [at, String(2 * PAGE), '1', '1'], 'written back and dropped');
    memory.cache!.syncForDevice(buffer, 8, 8, 'to-device');
    assert.deepEqual(state(), [at, String(2 * PAGE), '1', '1'], 'nothing to do');
  });

  it('is mapped as ordinary uncached memory, not as registers', () => {
    const cases: [string, string, boolean][] = [
      ['0', '3', true],
      ['1', '3', true],
      ['2', '2', true],
      ['3', '3', true],
      ['5', '3', true],
      ['6', '3', true],
      ['1', '3', false],
      ['2', '2', false],
    ];
    for (const [before, after, cached] of cases) {
      plant(root, NAME, { ...INCOHERENT, sync_mode: before });
      const memory = open({ cached });
      assert.equal(attribute('sync_mode'), after, `sync_mode ${before}, cached ${cached}`);
      assert.equal(memory.cache !== undefined, cached);
      assert.equal(synchronous(), 1, 'one mapping is uncached');
      memory.close();
    }
    plant(root, NAME);
    open();
    assert.equal(synchronous(), 0, 'a device that sees the caches needs none');
  });

  it('needs no syncs when all of it is uncached', () => {
    plant(root, NAME, INCOHERENT);
    const memory = open({ cached: false });
    assert.equal(memory.cache, undefined);
    memory.allocate(PAGE, 'noncoherent');
    assert.deepEqual([attribute('sync_for_device'), attribute('sync_for_cpu')], ['1', '1']);
  });

  it('takes files it may write: the remedy is a udev rule', () => {
    const folder = plant(root, NAME, { ...INCOHERENT, sync_mode: '3' });
    chmodSync(root, 0o755);
    chmodSync(node(), 0o666);
    chmodSync(join(folder, 'sync_size'), 0o444);
    const before = descriptors();
    unprivileged(() => refused('EACCES', /no permission to write .*sync_\*; .*SUBSYSTEM=="u-dma-buf", RUN/));
    rmSync(join(folder, 'sync_size'));
    refused('EIO', /lacks a file that syncs need/);
    assert.equal(descriptors(), before);
  });
});

describeNative('a u-dma-buf that cannot be opened', () => {
  fixtures();

  it('because it is in use', () => {
    plant(root, NAME);
    const memory = open();
    refused(
      'EBUSY',
      /udmabuf0 is in use, by this process or another; close what was opened before \(fuser -v/,
    );
    plant(root, NAME, { sync_owner: '1' });
    refused('EBUSY', /another; the device owns it now \(sync_owner\); close/);
    memory.close();
    open();
  });

  it('because it has no node', () => {
    plant(root, NAME);
    rmSync(node());
    refused('ENODEV', /is there but its node .* is not; let udev make it/);
  });

  it('because it may not: the remedy is a udev rule', () => {
    plant(root, NAME);
    chmodSync(root, 0o755);
    chmodSync(node(), 0o600);
    unprivileged(() => {
      if (process.geteuid?.() !== 65_534) chmodSync(node(), 0);
      refused('EACCES', /99-u-dma-buf\.rules the line SUBSYSTEM=="u-dma-buf", OWNER="\d+"/);
    });
    rmSync(join(root, 'sys'), { recursive: true });
    plant(root, NAME, {}, 'udmabuf');
    chmodSync(node(), 0o600);
    unprivileged(() => {
      if (process.geteuid?.() !== 65_534) chmodSync(node(), 0);
      refused('EACCES', /the line SUBSYSTEM=="udmabuf", OWNER/);
    });
  });

  it('because its node has fewer bytes than is said', () => {
    plant(root, NAME);
    truncateSync(node(), MIB - PAGE);
    refused('ENXIO', /cannot be mapped as the 1048576 bytes that .* tells of/);
  });

  it('because it is not whole pages at a page', () => {
    const malformed: readonly Attributes[] = [
      { phys_addr: '0x100800' },
      { size: '4095' },
      { size: '0' },
      { phys_addr: '0x1ffffffffff000', size: '0x2000' },
    ];
    for (const attributes of malformed) {
      plant(root, NAME, attributes);
      refused('EIO', /not one whole page of 4096 bytes/);
    }
    plant(root, NAME, { size: String(2 * PAGE + 100) });
    assert.equal(open().available, 2 * PAGE);
  });

  it("because the node is somebody else's", () => {
    plant(root, NAME, { ioctl_version: '2' });
    const before = descriptors();
    refused('EIO', /is not the buffer that .* describes: it says ENOTTY; remove the node/);
    assert.equal(descriptors(), before);
    plant(root, NAME, { ioctl_version: '0' });
    open();
  });
});
