/** What doctor says of machines that are trees of files: each cause by its word, with the command that ends it. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { diagnoseMachine } from '../../lib/doctor/doctor.ts';
import { Tree } from './tree.ts';

const EDU = '0000:00:10.0';
const OTHER = '0000:00:10.1';
const linux = process.platform === 'linux';
let tree: Tree;

beforeEach(() => {
  tree = new Tree();
});
afterEach(() => tree.remove());

/** Words and commands of the problems, without the addon, which is the host's. */
function problems(options: { address?: string; memory?: number; hugePages?: number } = {}) {
  return diagnoseMachine({ address: EDU, root: tree.root, ...options })
    .problems.filter(({ id }) => id !== 'addon')
    .map(({ id, command }) => [id, command]);
}

describe.runIf(linux)('doctor', () => {
  it('has nothing to say of a machine that is ready', () => {
    tree.healthy(EDU);
    expect(problems()).toEqual([]);
    expect(diagnoseMachine({ address: EDU, root: tree.root }).ways.simulation).toBe(true);
  });

  it('IOMMU off', () => {
    tree.file('/sys/bus/pci/drivers_probe');
    tree.pci(EDU, { driver: 'edu' });
    const [[id, command]] = problems() as [[string, string]];
    expect(id).toBe('iommu-off');
    expect(command).toMatch(/intel_iommu=on|iommu\.passthrough=0/);
  });

  it('IOMMU switched off by a word of the command line: that word', () => {
    tree.file('/sys/bus/pci/drivers_probe');
    tree.file('/proc/cmdline', 'quiet intel_iommu=off\n');
    expect(diagnoseMachine({ root: tree.root }).problems.map(({ what }) => what)).toContainEqual(
      expect.stringMatching(/booted with intel_iommu=off/),
    );
  });

  it('the command against that word: another one for Intel, none for AMD', () => {
    tree.file('/sys/bus/pci/drivers_probe');
    tree.file('/etc/default/grub', 'GRUB_CMDLINE_LINUX="quiet intel_iommu=off"\n');
    tree.file('/etc/default/amd', 'GRUB_CMDLINE_LINUX="quiet amd_iommu=off"\n');
    for (const [word, file] of [
      ['intel_iommu=off', 'grub'],
      ['amd_iommu=off', 'amd'],
    ]) {
      tree.file('/proc/cmdline', `quiet ${word}\n`);
      const [[, command]] = problems() as [[string, string]];
      const [sed] = command.replace('/etc/default/grub', `${tree.root}/etc/default/${file}`).split(' && ');
      execFileSync('sh', ['-c', sed!]);
    }
    const word = process.arch === 'x64' ? 'intel_iommu=on' : 'iommu.passthrough=0';
    expect(readFileSync(`${tree.root}/etc/default/grub`, 'utf8')).toBe(
      `GRUB_CMDLINE_LINUX="quiet ${word}"\n`,
    );
    expect(readFileSync(`${tree.root}/etc/default/amd`, 'utf8')).toBe('GRUB_CMDLINE_LINUX="quiet "\n');
  });

  it('module missing', () => {
    tree.file('/sys/class/iommu/dmar0/uevent');
    tree.pci(EDU, { driver: 'edu', group: 7 });
    expect(problems()[0]).toEqual(['no-vfio', 'modprobe vfio-pci']);
  });

  it('the module that maps memory is missing', () => {
    tree.healthy(EDU);
    rmSync(`${tree.root}/sys/module/vfio_iommu_type1`, { recursive: true });
    expect(problems()).toEqual([['no-type1', 'modprobe vfio_iommu_type1']]);
  });

  it('iommufd serves where there is no container', () => {
    tree.healthy(EDU);
    rmSync(`${tree.root}/dev/vfio`, { recursive: true });
    tree.file('/dev/iommu');
    tree.file('/dev/vfio/devices/vfio0');
    tree.file(`/sys/bus/pci/devices/${EDU}/vfio-dev/vfio0/dev`);
    expect(problems()).toEqual([]);
    const { machine } = diagnoseMachine({ root: tree.root });
    expect(machine.vfioDevices).toEqual([{ node: '/dev/vfio/devices/vfio0', state: 'usable' }]);
    rmSync(`${tree.root}/dev/iommu`);
    expect(problems()[0]).toEqual(['no-vfio', 'modprobe vfio-pci']);
  });

  it('the addon that USERDMA_ADDON names is not that of the package', () => {
    tree.healthy(EDU);
    process.env.USERDMA_ADDON = '/no/such/addon.node';
    try {
      // In a process of its own, because this one may have an addon already.
      const doctor = `import { diagnoseMachine } from '${new URL('../../dist/lib/doctor/doctor.js', import.meta.url)}';
        console.log(JSON.stringify(diagnoseMachine().problems.find(({ id }) => id === 'addon')))`;
      const output = execFileSync(process.execPath, ['--input-type=module', '-e', doctor], {
        encoding: 'utf8',
      });
      expect(JSON.parse(output)).toMatchObject({ command: 'unset USERDMA_ADDON' });
    } finally {
      delete process.env.USERDMA_ADDON;
    }
  });

  it('driver of the kernel bound, or none', () => {
    tree.healthy(EDU);
    tree.pci(OTHER, { driver: 'nvme', group: 8 });
    tree.pci('0000:00:10.2', { group: 9 });
    expect(problems({ address: OTHER })).toEqual([['driver', `npx userdma bind ${OTHER}`]]);
    expect(problems({ address: '0000:00:10.2' })).toEqual([['driver', 'npx userdma bind 0000:00:10.2']]);
  });

  it('group not viable', () => {
    tree.healthy(EDU);
    tree.pci(OTHER, { driver: 'nvme', group: 7 });
    expect(problems()).toEqual([['not-viable', `npx userdma bind ${OTHER}`]]);
  });

  it('too little memory may be locked', () => {
    tree.healthy(EDU);
    tree.file('/proc/self/status', 'VmLck:\t       0 kB\nCapEff:\t0000000000000000\n');
    tree.file(
      '/proc/self/limits',
      'Max locked memory         65536                65536                bytes\n',
    );
    expect(problems({ memory: 2 ** 20 })).toEqual([['memlock', `prlimit --pid $$ --memlock=${2 ** 20}`]]);
    expect(problems({ memory: 65536 })).toEqual([]);
  });

  it('no huge pages when some are wanted', () => {
    tree.healthy(EDU);
    // Of another size than the default there are enough.
    tree.file('/proc/meminfo', 'Hugepagesize:       2048 kB\n');
    tree.file('/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages', '9\n');
    tree.file('/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', '3\n');
    tree.file('/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', '1\n');
    expect(problems({ hugePages: 4 })).toEqual([['huge-pages', 'sysctl vm.nr_hugepages=6']]);
    expect(problems({ hugePages: 1 })).toEqual([]);
  });

  it('no such function: those it may have meant', () => {
    tree.healthy(EDU);
    const { problems: found } = diagnoseMachine({ address: '0000:00:11.0', root: tree.root });
    expect(found.find(({ id }) => id === 'absent')?.advice).toBe(`did you mean ${EDU}?`);
  });

  it('refuses what is no address', () => {
    expect(() => diagnoseMachine({ address: 'edu' })).toThrow(/not a PCI address/);
  });
});
