/** Functions without an IOMMU, from files of /sys: which way openPciUnsafe takes, and what it refuses. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readMachine } from '../../lib/doctor/machine.ts';
import type { Addon } from '../../lib/native/addon.ts';
import { readFacts } from '../../lib/pci/facts.ts';
import { openNoIommu } from '../../lib/pci/unsafe/noiommu.ts';
import { obstacle } from '../../lib/pci/unsafe/obstacles.ts';
import { diagnose } from '../../lib/pci/vfio/diagnose.ts';
import { errorOf } from '../failures.ts';

const EDU = '0000:00:10.0';
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-noiommu-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, text = ''): void {
  mkdirSync(dirname(root + path), { recursive: true });
  writeFileSync(root + path, text);
}

function machine(driver: string, group: number, name?: string): void {
  const device = `${root}/sys/bus/pci/devices/${EDU}`;
  mkdirSync(device, { recursive: true });
  symlinkSync(`../../../bus/pci/drivers/${driver}`, `${device}/driver`);
  symlinkSync(`../../../kernel/iommu_groups/${group}`, `${device}/iommu_group`);
  file(`/sys/kernel/iommu_groups/${group}/devices/${EDU}`);
  file(`/sys/kernel/iommu_groups/${group}/type`, 'DMA\n');
  if (name !== undefined) file(`/sys/kernel/iommu_groups/${group}/name`, `${name}\n`);
}

describe('a function that VFIO has without an IOMMU', () => {
  beforeEach(() => machine('vfio-pci', 3, 'vfio-noiommu'));

  it('has a group that is no IOMMU group', () => {
    const { group, noIommuGroup, iommu, members } = readFacts(EDU, root);
    expect([group, noIommuGroup, iommu, members]).toEqual([undefined, 3, false, []]);
    file('/dev/vfio/noiommu-3');
    const { groups, noIommuGroups } = readMachine(root);
    expect([groups, noIommuGroups]).toEqual([0, [3]]);
  });

  it('is for openPciUnsafe, and openPci says so', () => {
    const facts = readFacts(EDU, root);
    expect(obstacle(facts, root)).toBeUndefined();
    expect(diagnose(facts)?.message).toMatch(/the IOMMU is off; .*openPciUnsafe/);
  });

  it('is refused with the reason of the step that failed, and nothing stays open', () => {
    const closed: string[] = [];
    const native = {
      vfioContainerOpen: () => 7,
      vfioGroupOpen: () => 0,
      vfioGroupAttach: () => 0,
      vfioSetIommu: () => 0,
      vfioDeviceOpen: () => 9,
      vfioContainerClose: (handle: number) => closed.push(`container ${handle}`),
      vfioDeviceClose: (handle: number) => closed.push(`device ${handle}`),
    };
    const refused = (step: keyof typeof native, errno: number) => {
      const failing = { ...native, [step]: () => errno } as unknown as Addon;
      const { code, message } = errorOf(() => openNoIommu(failing, readFacts(EDU, root)));
      return `${code} ${message}`;
    };
    expect(refused('vfioContainerOpen', -95)).toMatch(
      /^EOPNOTSUPP .*switched off; .*enable_unsafe_noiommu_mode/,
    );
    expect(closed.splice(0)).toEqual([]);
    expect(refused('vfioGroupOpen', -1)).toMatch(/^EACCES .*noiommu-3.*CAP_SYS_RAWIO/);
    expect(refused('vfioGroupOpen', -16)).toMatch(/^EBUSY .*open already/);
    expect(refused('vfioGroupOpen', -2)).toMatch(/^ENODEV .*noiommu-3 is missing/);
    expect(refused('vfioDeviceOpen', -24)).toMatch(/^EMFILE .*ulimit -n/);
    expect(refused('vfioSetIommu', -22)).toMatch(/^EINVAL .*VFIO_SET_IOMMU failed/);
    expect(closed).toEqual(Array.from({ length: 5 }, () => 'container 7'));
  });
});

describe('a function that is bound to vfio-pci behind an IOMMU', () => {
  it('is not opened around it', () => {
    machine('vfio-pci', 3);
    expect(obstacle(readFacts(EDU, root), root)).toMatchObject({
      code: 'EPERM',
      message: expect.stringMatching(/behind an IOMMU; use openPci/),
    });
  });
});
