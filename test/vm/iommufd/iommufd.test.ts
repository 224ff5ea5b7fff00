/** Functions opened without their groups: address spaces of iommufd, descriptors passed in, and what stands in the way. */
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, openSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Edu } from '../../../examples/edu/driver.ts';
import {
  diagnoseMachine,
  dmaBitMask,
  type OpenPciOptions,
  openPci,
  type PciFunction,
} from '../../../lib/index.ts';
import { IommufdAddressSpace } from '../../../lib/iommu/iommufd.ts';
import { MemfdMemory } from '../../../lib/memory/memfd.ts';
import { loadAddon } from '../../../lib/native/load.ts';
import { VFIO_IOMMU } from '../../../lib/native/vfio.ts';
import { nodeOf } from '../../../lib/pci/facts.ts';
import { openVfio } from '../../../lib/pci/vfio/open.ts';
import { assert, describe, it } from '../../harness.ts';
import { device, groupOf, ownDescriptors, refuses } from '../devices.ts';
import { spaceRules } from '../space-rules.ts';

const PAGE = 4096;
const BASE = 0x100_0000;
const NARROW = device('USERDMA_TEST_EDU');
const WIDE = device('USERDMA_TEST_EDU_WIDE');

function openNodeOf(address: string): number {
  return openSync(nodeOf(address)!, 'r+');
}

function newSpace() {
  const native = loadAddon();
  const ioas = native.ioasCreate(-1);
  assert.ok(ioas > 0, `ioas: ${ioas}`);
  const opened = native.ioasDeviceOpen(ioas, openNodeOf(NARROW));
  assert.ok(opened > 0, `device: ${opened}`);
  return { native, ioas, device: opened, space: new IommufdAddressSpace(native, ioas, native.pageSize()) };
}

describe('an address space of iommufd', () => {
  spaceRules(() => {
    const { native, ioas, device: opened, space } = newSpace();
    const close = space.close.bind(space);
    space.close = () => {
      close();
      native.vfioDeviceClose(opened);
    };
    return { space, mapRaw: (iova, buffer, flags) => native.ioasMap(ioas, iova, buffer, 0, PAGE, flags) };
  });
});

// Apart from the rules above, whose space holds the one opening that a function may have.
describe('ranges of an address space of iommufd', () => {
  it('are not taken back when the end of a range cuts a mapping', () => {
    const { native, device: opened, space } = newSpace();
    const memory = new MemfdMemory();
    const buffer = memory.allocate(4 * PAGE);
    space.map(BASE, buffer, 0, PAGE, 'read');
    space.map(BASE + PAGE, buffer, PAGE, 2 * PAGE, 'read');
    refuses(() => space.unmap(BASE, 2 * PAGE), 'EINVAL', 'cut a mapping in two');
    refuses(() => space.map(BASE, buffer, 0, PAGE, 'read'), 'EEXIST');
    assert.equal(space.unmap(BASE, 3 * PAGE), 3 * PAGE);
    space.close();
    space.close();
    refuses(() => space.map(BASE, buffer, 0, PAGE, 'read'), 'ENODEV');
    native.vfioDeviceClose(opened);
    memory.close();
  });

  /** What the figures in docs/performance.md are made with: the same memory by its file and by its address. */
  it('are mapped by file and by address', () => {
    const { native, ioas, device: opened, space } = newSpace();
    const memory = new MemfdMemory();
    for (const size of [PAGE, 64 * 1024, 2 ** 21, 2 ** 25]) {
      const buffer = memory.allocate(size);
      // A buffer of V8's own is mapped by its address: IOMMU_IOAS_MAP.
      const foreign = new ArrayBuffer(size + PAGE);
      const offset = (PAGE - native.vfioPageOffset(foreign, PAGE)) % PAGE;
      new Uint8Array(foreign).fill(1);
      const time = (source: ArrayBuffer, at: number): number => {
        const times = Array.from({ length: 30 }, () => {
          const start = performance.now();
          assert.equal(native.ioasMap(ioas, BASE, source, at, size, 3), 0);
          assert.equal(native.ioasUnmap(ioas, BASE, size), size);
          return (performance.now() - start) * 1000;
        });
        return Math.min(...times);
      };
      const [byFile, byAddress] = [time(buffer, 0), time(foreign, offset)];
      console.log(
        `  ${size} bytes, map and unmap: ${byFile.toFixed(0)} us by file, ${byAddress.toFixed(0)} by address`,
      );
    }
    space.close();
    native.vfioDeviceClose(opened);
    memory.close();
  });

  it('may be more than a container takes', () => {
    const { native, device: opened, space } = newSpace();
    const memory = new MemfdMemory();
    const page = memory.allocate(PAGE);
    const count = 70_000;
    for (let i = 0; i < count; i++) space.map(BASE + i * PAGE, page, 0, PAGE, 'read');
    assert.equal(space.unmap(BASE, count * PAGE), count * PAGE);
    space.close();
    native.vfioDeviceClose(opened);
    memory.close();
  });
});

/** Moves bytes from memory into the device and back, somewhere else. */
async function roundTrip(fn: PciFunction): Promise<void> {
  const edu = new Edu(fn, { dmaBits: 28 });
  const from = fn.dma.allocCoherent(PAGE);
  const to = fn.dma.allocCoherent(PAGE);
  for (let i = 0; i < 1024; i++) from.bytes[i] = i & 0xff;
  await edu.transfer(from.dmaAddress, 0x40000n, 1024, 0);
  await edu.transfer(0x40000n, to.dmaAddress, 1024, 2);
  assert.deepEqual(to.bytes.subarray(0, 1024), from.bytes.subarray(0, 1024));
  edu.close();
}

describe('a function opened without its group', () => {
  it('is opened by its node when iommufd is asked for', async () => {
    const before = ownDescriptors().length;
    using fn = await openPci(NARROW, { iommu: 'iommufd' });
    assert.equal(fn.domain!.name, 'iommufd');
    assert.ok(ownDescriptors().some(({ target }) => target.startsWith('/dev/vfio/devices/')));
    await roundTrip(fn);
    fn.close();
    assert.equal(ownDescriptors().length, before);
  });

  it('is so without being asked for, where the kernel has both; in a container when that is asked for', async () => {
    for (const [options, name] of [
      [{}, 'iommufd'],
      [{ iommu: 'container' }, 'type1'],
    ] as const) {
      using fn = await openPci(NARROW, options);
      assert.equal(fn.domain!.name, name);
      await roundTrip(fn);
    }
    assert.equal(diagnoseMachine({ address: NARROW }).opening?.iommu, 'iommufd');
  });

  it('shares its address space with a function of another group', async () => {
    using one = await openPci(NARROW, { iommu: 'iommufd' });
    using two = await openPci(WIDE, { domain: one.domain! });
    assert.notEqual(groupOf(NARROW), groupOf(WIDE));
    assert.equal(two.domain, one.domain);
    const wide = new Edu(two, { dmaBits: 40 });
    two.dma.setMaskAndCoherent(dmaBitMask(40));
    const memory = one.dma.allocCoherent(PAGE);
    memory.bytes.fill(7);
    await wide.transfer(memory.dmaAddress, 0x40000n, 64, 0);
    assert.deepEqual(await wide.read(64), new Uint8Array(64).fill(7));
    one.close();
    const mine = two.dma.allocCoherent(PAGE);
    await wide.transfer(0x40000n, mine.dmaAddress, 64, 2);
    assert.equal(mine.bytes[63], 7);
  });

  it('is opened by a descriptor, without any right of its own', async () => {
    const fd = openNodeOf(NARROW);
    using fn = await openPci({ fd });
    assert.deepEqual([fn.address, fn.domain!.name], [NARROW, 'iommufd']);
    await roundTrip(fn);
    fn.close();
    assert.throws(() => closeSync(fd), { code: 'EBADF' });
  });

  it('is opened by an ordinary user with both descriptors', () => {
    const child = fileURLToPath(new URL('descriptor-child.js', import.meta.url));
    const fd = openNodeOf(NARROW);
    const iommufd = openSync('/dev/iommu', 'r+');
    const { status, stdout, stderr } = spawnSync(process.execPath, [child], {
      stdio: ['ignore', 'pipe', 'pipe', fd, iommufd],
      encoding: 'utf8',
    });
    closeSync(fd);
    closeSync(iommufd);
    assert.equal(status, 0, stderr);
    assert.equal(stdout.trim(), `${NARROW} iommufd 4096`);
  });

  it('leaves other descriptors alone', async () => {
    for (const fd of [openSync('/dev/null', 'r+'), openSync('/proc/self/status', 'r')]) {
      await assert.rejects(openPci({ fd }), { code: 'EINVAL' });
      closeSync(fd);
    }
    for (const fd of [-1, 1.5, 2 ** 40, 'x', undefined]) {
      await assert.rejects(openPci({ fd: fd as number }), { code: 'EINVAL' });
    }
    const fd = openNodeOf(NARROW);
    const wrong = openSync('/dev/null', 'r+');
    await assert.rejects(openPci({ fd, iommufd: wrong }), { code: 'EINVAL' });
    closeSync(wrong);
  });

  it('leaves nothing behind, a thousand times', () => {
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 1000; i++) {
      const { transport, dma } = openVfio(NARROW, { iommu: 'iommufd' });
      dma.allocCoherent(PAGE);
      if (i % 2 === 0) transport.close();
      dma.close();
      transport.close();
    }
    assert.equal(readdirSync('/proc/self/fd').length, before);
  });
});

describe('what stands in the way of iommufd', () => {
  const open = (options: OpenPciOptions = {}) => openVfio(NARROW, options);
  const close = ({ transport, dma }: ReturnType<typeof openVfio>): void => {
    dma.close();
    transport.close();
  };

  it('is EBUSY while the group is open as a whole, and the other way round', () => {
    const native = loadAddon();
    const group = groupOf(NARROW);
    const container = native.vfioContainerOpen(VFIO_IOMMU.type1);
    assert.equal(native.vfioGroupOpen(container, group), 0);
    refuses(
      () => open({ iommu: 'iommufd' }),
      'EBUSY',
      `/dev/vfio/${group}`,
      'as a whole or function by function',
    );
    refuses(() => open(), 'EBUSY', `/dev/vfio/${group}`, 'as a whole or function by function');
    native.vfioContainerClose(container);
    const opened = open({ iommu: 'iommufd' });
    refuses(() => open({ iommu: 'container' }), 'EBUSY', 'open already');
    const again = native.vfioContainerOpen(VFIO_IOMMU.type1);
    assert.equal(native.vfioGroupOpen(again, group), -16);
    native.vfioContainerClose(again);
    close(opened);
  });

  it('is EBUSY when another opener has the function', () => {
    const native = loadAddon();
    const ioas = native.ioasCreate(-1);
    const held = native.ioasDeviceOpen(ioas, openNodeOf(NARROW));
    refuses(() => open({ iommu: 'iommufd' }), 'EBUSY', 'held by this process');
    native.vfioDeviceClose(held);
    native.ioasClose(ioas);
    close(open({ iommu: 'iommufd' }));
  });

  it('is EINVAL for options that are none, or contradict each other', async () => {
    await assert.rejects(openPci(NARROW, { iommu: 'none' as 'iommufd' }), { code: 'EINVAL' });
    const first = openVfio(WIDE, { iommu: 'container' });
    refuses(() => open({ iommu: 'iommufd', domain: first.dma.domain! }), 'EINVAL', 'not of iommufd');
    close(first);
  });

  it('is EACCES without permission, with the remedy, and the container is taken instead where it may', () => {
    const child = fileURLToPath(new URL('../open-child.js', import.meta.url));
    const asNobody = (...wish: string[]) => {
      const { stdout, stderr } = spawnSync(
        'prlimit',
        [...['--memlock=1048576', process.execPath, child, NARROW, '65534'], ...wish],
        { encoding: 'utf8' },
      );
      assert.ok(stdout !== '', stderr);
      return JSON.parse(stdout) as { code?: string; message?: string; domain?: string };
    };
    const node = nodeOf(NARROW)!;
    const group = `/dev/vfio/${groupOf(NARROW)}`;
    const nodes = ['/dev/iommu', node, '/dev/vfio/vfio', group];
    try {
      for (const path of ['/dev/iommu', node]) {
        for (const other of nodes) chmodSync(other, other === path ? 0o600 : 0o666);
        const { code, message } = asNobody('iommufd');
        assert.equal(code, 'EACCES', message);
        assert.match(message!, new RegExp(`no permission to open ${path}.*chown`));
        assert.deepEqual(asNobody(), { small: true, domain: 'type1' });
      }
      for (const other of nodes) chmodSync(other, other === group ? 0o600 : 0o666);
      assert.equal(asNobody().domain, 'iommufd');
      chmodSync(node, 0o600);
      assert.match(asNobody().message!, new RegExp(`no permission to open ${group}.*chown`));
    } finally {
      for (const path of nodes) chmodSync(path, 0o600);
    }
  });
});
