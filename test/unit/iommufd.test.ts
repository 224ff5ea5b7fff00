/** iommufd without a kernel that has it: which interface is chosen, which function a descriptor is of, and the errors. */
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IommufdAddressSpace } from '../../lib/iommu/iommufd.ts';
import { VfioWindow } from '../../lib/iommu/vfio-window.ts';
import { nodeOf, readFacts } from '../../lib/pci/facts.ts';
import { addressOf } from '../../lib/pci/vfio/descriptor.ts';
import { diagnose } from '../../lib/pci/vfio/diagnose.ts';
import { bindError, contextError, noNode } from '../../lib/pci/vfio/diagnose-iommufd.ts';
import { errorOf } from '../failures.ts';

const EDU = '0000:00:10.0';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-iommufd-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string): void {
  mkdirSync(dirname(root + path), { recursive: true });
  writeFileSync(root + path, '');
}

function link(path: string, target: string): void {
  mkdirSync(dirname(root + path), { recursive: true });
  symlinkSync(target, root + path);
}

function machine(): void {
  const device = `/sys/bus/pci/devices/${EDU}`;
  link(`${device}/driver`, '../../../bus/pci/drivers/vfio-pci');
  link(`${device}/iommu_group`, '../../../kernel/iommu_groups/3');
  file(`/sys/kernel/iommu_groups/3/devices/${EDU}`);
  file(`${device}/vfio-dev/vfio7/dev`);
}

describe('a machine whose kernel has no container', () => {
  it('is fine with iommufd and a node of the function', () => {
    machine();
    expect(diagnose(readFacts(EDU, root))?.code).toBe('ENODEV');
    file('/dev/iommu');
    const facts = readFacts(EDU, root);
    expect([facts.iommufd, facts.vfio, facts.node]).toEqual([true, false, '/dev/vfio/devices/vfio7']);
    expect(nodeOf(EDU, root)).toBe('/dev/vfio/devices/vfio7');
    expect(diagnose(facts)).toBeUndefined();
  });

  it('has no such node without the number of one', () => {
    mkdirSync(`${root}/sys/bus/pci/devices/${EDU}/vfio-dev/vfio7`, { recursive: true });
    expect(nodeOf(EDU, root)).toBeUndefined();
  });
});

describe('a descriptor', () => {
  it('is that of the function that the system says', () => {
    // /dev/null is 1:3.
    link('/sys/dev/char/1:3/subsystem', '../../../../class/vfio-dev');
    link('/sys/dev/char/1:3/device', `../../../${EDU}`);
    const fd = openSync('/dev/null', 'r+');
    try {
      expect(addressOf({ fd }, root)).toBe(EDU);
      expect(errorOf(() => addressOf({ fd })).code).toBe('EINVAL');
    } finally {
      closeSync(fd);
    }
  });

  it.each([-1, 1.5, 2 ** 31, Number.NaN, '3', null, undefined])('is not %s', (fd) => {
    expect(errorOf(() => addressOf({ fd: fd as number })).code).toBe('EINVAL');
  });
});

describe('errors of iommufd', () => {
  const facts = () => readFacts(EDU, root);

  it.each([
    [-2, 'ENODEV', /modprobe iommufd/],
    [-13, 'EACCES', /chown/],
    [-24, 'EMFILE', /ulimit -n/],
  ])('of /dev/iommu: %i', (errno, code, words) => {
    machine();
    const error = contextError(facts(), errno, false);
    expect([error.code, words.test(error.message)]).toEqual([code, true]);
  });

  it('of a descriptor that is no iommufd', () => {
    machine();
    expect(contextError(facts(), -25, true).code).toBe('EINVAL');
  });

  it.each([
    [-16, 'EBUSY', /function by function/],
    [-1, 'EPERM', /iommufd\/parameters\/allow_unsafe_interrupts/],
    [-25, 'ENODEV', /Linux 6\.6/],
    [-19, 'ENODEV', /gone/],
    [-22, 'EINVAL', /open already/],
  ])('of binding: %i', (errno, code, words) => {
    machine();
    const error = bindError(facts(), errno, 'bind');
    expect([error.code, words.test(error.message)]).toEqual([code, true]);
  });

  it('of a kernel without nodes of functions', () => {
    expect(noNode(facts()).message).toMatch(/CONFIG_VFIO_DEVICE_CDEV.*container/);
  });
});

describe('addresses of an IOAS', () => {
  const native = (alignment: bigint, ranges: bigint[]) => ({
    vfioCanMapForeign: () => true,
    vfioPageOffset: () => 0,
    ioasInfo: () => ({ alignment, ranges }),
    ioasMap: () => 0,
    ioasMapWindow: () => 0,
    ioasUnmap: () => 0,
    ioasClose: () => 0,
  });

  it('are whole pages of the larger of both, without what is reserved', () => {
    const kernel = native(1n, [0n, 0xfedfffffn, 0xfef00000n, 0x7fffffffffn]);
    const space = new IommufdAddressSpace(kernel, 1, 16384, [{ start: 0x80000000, end: 0x80000fff }]);
    expect([space.name, space.pageSize]).toEqual(['iommufd', 16384]);
    expect(space.ranges).toEqual([
      { start: 0, end: 0x7fffffff },
      { start: 0x80004000, end: 0xfedfffff },
      { start: 0xfef00000, end: 0x7fffffffff },
    ]);
    expect(space.unchanged).toBe(true);
    expect(new IommufdAddressSpace(native(65536n, [0n, 0xfffffn]), 1, 4096).pageSize).toBe(65536);
  });

  it('have changed when a device that came later takes some away', () => {
    const kernel = native(4096n, [0n, 0xfffffn]);
    const space = new IommufdAddressSpace(kernel, 1, 4096);
    kernel.ioasInfo = () => ({ alignment: 4096n, ranges: [0n, 0x7ffffn] });
    expect(space.unchanged).toBe(false);
    kernel.ioasInfo = () => ({ alignment: 8192n, ranges: [0n, 0xfffffn] });
    expect(space.unchanged).toBe(false);
  });

  it('of registers are mapped again when the registers answer again, until they are unmapped', () => {
    const kernel = native(4096n, [0n, 0xfffffn]);
    const calls: string[] = [];
    const mapWindow = (_: number, iova: number) => calls.push(`map ${iova}`) && 0;
    const unmap = (_: number, iova: number, size: number) => calls.push(`unmap ${iova}`) && size;
    const space = new IommufdAddressSpace({ ...kernel, ioasMapWindow: mapWindow, ioasUnmap: unmap }, 1, 4096);
    const window = new VfioWindow(8192, 5);
    expect(window.isRevocable).toBe(false);
    space.mapWindow(0x1000, window, 0, 4096, 'read');
    space.mapWindow(0x4000, window, 4096, 4096, 'read-write');
    window.answer();
    const renewed = ['unmap 4096', 'map 4096', 'unmap 16384', 'map 16384'];
    expect(calls.splice(0)).toEqual(['map 4096', 'map 16384', ...renewed]);
    space.unmap(0x1000, 4096);
    window.answer();
    expect(calls.splice(0)).toEqual(['unmap 4096', 'unmap 16384', 'map 16384']);
    space.close();
    window.answer();
    expect([calls, window.isRevocable]).toEqual([[], false]);
  });

  it('of registers warn if they cannot be made again', async () => {
    const results = [0, -14];
    const kernel = {
      ...native(4096n, [0n, 0xfffffn]),
      ioasMapWindow: () => results.shift() ?? 0,
      ioasUnmap: () => 0,
    };
    const space = new IommufdAddressSpace(kernel, 1, 4096);
    const window = new VfioWindow(8192, 5);
    space.mapWindow(0x1000, window, 0, 4096, 'read');
    const warned = once(process, 'warning');
    window.answer();
    const [warning] = (await warned) as [Error & { code: string }];
    expect(warning.code).toBe('USERDMA_REGISTERS_UNMAPPED');
    expect(warning.message).toMatch(
      /at 0x1000, 4096 bytes.*cannot be made again: .*does not answer.*memory decode/,
    );
    // The mapping may still be removed, and is renewed the next time.
    window.answer();
    expect([results, space.unmap(0x1000, 4096)]).toEqual([[], 0]);
  });

  it('of registers are refused with the reason', () => {
    const refuse = (result: number, window: object = new VfioWindow(8192, 5)) => {
      const kernel = { ...native(4096n, [0n, 0xfffffn]), ioasMapWindow: () => result };
      const space = new IommufdAddressSpace(kernel, 1, 4096);
      return errorOf(() => space.mapWindow(0x1000, window as VfioWindow, 0, 4096, 'read'));
    };
    expect(refuse(-95).message).toMatch(/no registers.*iommu: 'container'.*CONFIG_VFIO_PCI_DMABUF/);
    expect(refuse(-95).code).toBe('EREMOTEIO');
    expect(refuse(-14).message).toMatch(/does not answer.*memory decode/);
    expect(refuse(0, { size: 8192 }).code).toBe('EREMOTEIO');
  });
});
