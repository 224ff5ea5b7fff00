/** The parts of the virtual machine's harness that need no machine. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { afterEach, beforeEach, describe, it, vi } from 'vitest';
import { cpioArchive, directory, file } from '../../lib/vm/cpio.ts';
import { debianKernel } from '../../lib/vm/debian-kernel.ts';
import { imageVersion } from '../../lib/vm/kernel.ts';
import { qemuArguments } from '../../lib/vm/machine.ts';
import { refusedDevice } from '../../lib/vm/run.ts';
import { takeFlags, withChoices } from '../vm/choices.ts';
import { type Machine, machines } from '../vm/machine.ts';
import report from '../vm/reporter.ts';
import { findSuites } from '../vm/suites.ts';

const here = '/checkout/dist/test/a.test.js';

async function results(...events: object[]): Promise<unknown[]> {
  async function* source() {
    yield* events as TestEvent[];
  }
  const lines: string[] = [];
  for await (const line of report(source())) lines.push(line);
  return lines.map((line) => JSON.parse(line)).map((line) => line.result ?? line);
}

const pass = (data: object) => ({ type: 'test:pass', data: { file: here, details: {}, ...data } });
const fail = (data: object, failureType = 'testCodeFailure', type?: string) => ({
  type: 'test:fail',
  data: { file: here, details: { error: { failureType }, type }, ...data },
});

describe('the reporter', () => {
  it('counts tests, not suites that merely contain them', async () => {
    const suite = fail({ name: 'suite' }, 'subtestsFailed', 'suite');
    const events = [pass({ name: 'one' }), fail({ name: 'two' }), suite];
    assert.deepEqual(await results(...events), ['passed', 'failed', { end: true }]);
  });

  it('counts a suite whose hook fails', async () => {
    assert.deepEqual(await results(fail({ name: 'suite' }, 'hookFailed', 'suite')), [
      'failed',
      { end: true },
    ]);
  });

  it('counts a file that crashed, and one without a single test, as failed', async () => {
    assert.deepEqual(await results(fail({ name: here }), pass({ name: here })), [
      'failed',
      'failed',
      { end: true },
    ]);
  });

  it('names a file by its path in the project', async () => {
    async function* source() {
      yield fail({ name: here }) as unknown as TestEvent;
    }
    const { value } = await report(source()).next();
    const path = relative(process.cwd(), here);
    assert.deepEqual(JSON.parse(value as string), { result: 'failed', name: path, file: path });
  });

  it('counts neither skipped tests nor those yet to do as passed', async () => {
    const events = [pass({ name: 'one', skip: 'no device' }), fail({ name: 'two', todo: true })];
    assert.deepEqual(await results(...events), ['skipped', 'skipped', { end: true }]);
  });
});

describe('a machine', () => {
  afterEach(() => vi.unstubAllEnvs());
  const files = { kernel: '/k', initrd: '/i', share: '/tmp/with,comma', console: '/c' };

  for (const machine of machines) {
    it(`${machine.name} names an address for each device it binds or announces`, () => {
      for (const device of machine.devices) {
        if (device.driver ?? device.variable)
          assert.match(device.address ?? '', /^0000:[\da-f]{2}:[\da-f]{2}\.[0-7]$/);
      }
    });
  }

  it('has its IOMMU before the devices behind it', () => {
    const args = qemuArguments(machines[0]!, files, 'tcg', '7.2.22');
    const iommu = args.findIndex((arg) => arg.startsWith('intel-iommu'));
    assert.ok(iommu > 0 && iommu < args.findIndex((arg) => arg.startsWith('edu')));
  });

  it('has its IOMMU on the board, where that is so', () => {
    const arm64 = machines.find(({ name }) => name === 'arm64-16k')!;
    const args = qemuArguments(arm64, { ...files, root: '/r' }, 'tcg', '7.2.22');
    assert.equal(args[args.indexOf('-machine') + 1], 'virt,gic-version=3,iommu=smmuv3');
    assert.equal(args[args.indexOf('-cpu') + 1], 'neoverse-n1');
    assert.ok(args.some((arg) => arg.startsWith('local,id=host,path=/r,')));
    assert.match(args[args.indexOf('-append') + 1]!, /^console=ttyAMA0 (?!.*intel_iommu)/);
  });

  it('has the IOMMU and the processor of the run, unless its tests need another IOMMU', () => {
    vi.stubEnv('USERDMA_VM_IOMMU', 'amd');
    vi.stubEnv('USERDMA_VM_CPU', 'EPYC');
    const of = (name: string) => {
      const machine = withChoices(machines.find((candidate) => candidate.name === name)!, '6.12.95');
      return [machine.iommu, machine.cpu];
    };
    assert.deepEqual(
      ['intel', 'virtio-iommu', 'no-iommu'].map((name) => of(name)),
      [
        ['amd', 'EPYC'],
        ['virtio', 'EPYC'],
        ['none', 'EPYC'],
      ],
    );
    vi.stubEnv('USERDMA_VM_IOMMU', 'nothing');
    assert.throws(() => of('intel'), /USERDMA_VM_IOMMU=nothing: there are intel, intel-scalable, amd/);
  });

  it("lacks what Debian's Linux 6.1 lacks, and no other kernel", () => {
    const lacks = (linux: string) => Object.keys(withChoices(machines[0]!, linux).absent ?? {});
    assert.deepEqual(lacks('6.1.0-50-amd64'), ['udmabuf', 'dma-heap', 'page tables']);
    for (const linux of ['6.12.95+deb12-amd64', '6.1.0-userdma', '6.10.0-1-amd64', '7.3.4-userdma']) {
      assert.deepEqual(lacks(linux), [], linux);
    }
  });

  it('knows a device that QEMU refuses from one that it warns of', () => {
    const devices = [{ qemu: 'edu,addr=0x10' }, { qemu: 'nvme,mdts=10' }];
    const refused = (text: string) => refusedDevice(text, devices);
    const nvme = { device: devices[1], reason: 'mdts exceeds 7' };
    assert.deepEqual(refused('warning: slow\nqemu: -device nvme,mdts=10: mdts exceeds 7'), nvme);
    assert.equal(refused('qemu: -device edu,addr=0x10: warning: old'), undefined);
    assert.equal(refused('qemu: -device edu,addr=0x1: no such bus'), undefined);
  });

  it('calls the scalable mode as the version of QEMU does', () => {
    const machine = { ...machines[0]!, iommu: 'intel-scalable' as const };
    const of = (version: string) =>
      qemuArguments(machine, files, 'tcg', version).find((arg) => arg.startsWith('intel-iommu'));
    for (const version of ['7.2.22', '10.0.13']) assert.match(of(version)!, /,x-scalable-mode=on,/);
    assert.match(of('11.1.3')!, /,scalable-mode=on,/);
  });

  it('survives a comma in a path', () => {
    assert.ok(
      qemuArguments(machines[0]!, files, 'tcg', '7.2.22').some((arg) =>
        arg.includes('path=/tmp/with,,comma,'),
      ),
    );
  });
});

describe('flags', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('are the variables of the same name, and leave the filters', () => {
    vi.stubEnv('USERDMA_VM_QEMU', '');
    vi.stubEnv('USERDMA_VM_MACHINE', '');
    assert.deepEqual(takeFlags(['--qemu', 'sid', '--machine=pcie', 'aer']), ['aer']);
    assert.deepEqual([process.env.USERDMA_VM_QEMU, process.env.USERDMA_VM_MACHINE], ['sid', 'pcie']);
    assert.throws(() => takeFlags(['--qemo', 'sid']), /--qemo.*the flags are --accel .*--qemu/);
  });
});

describe('files of the harness', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'userdma-unit-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const names = (filters: string[]) =>
    findSuites(folder, filters).map(({ machine, files }: { machine: Machine; files: readonly string[] }) => [
      machine.name,
      files.map((path) => path.slice(folder.length + 1)),
    ]);

  it('go to the machine their folder names', () => {
    for (const name of ['vm/no-vfio', 'edu']) mkdirSync(join(folder, name), { recursive: true });
    for (const name of ['vm/a.test.js', 'vm/a.js', 'vm/no-vfio/b.test.js', 'edu/c.test.js']) {
      writeFileSync(join(folder, name), '');
    }
    const other = ['no-vfio', ['vm/no-vfio/b.test.js']];
    // The machine with a kernel of our own and without a container runs the shared files too.
    const own = ['iommufd-edu', ['edu/c.test.js']];
    const without = ['noiommu', ['edu/c.test.js']];
    assert.deepEqual(names([]), [['intel', ['vm/a.test.js', 'edu/c.test.js']], own, without, other]);
    assert.deepEqual(names(['edu']), [['intel', ['edu/c.test.js']], own, without]);
    // A machine for another processor runs when it is named, and has the files of another folder.
    const arm64 = ['arm64', ['vm/a.test.js', 'edu/c.test.js']];
    assert.deepEqual(names(['arm64']), [arm64]);
    assert.deepEqual(names(['arm64/edu']), [['arm64', ['edu/c.test.js']]]);
    assert.deepEqual(names(['no-vfio']), [other]);
    // A machine and a file of it.
    assert.deepEqual(names(['iommufd-edu/c']), [own]);
    const chosen = machines.filter(({ name }) => name === 'iommufd-edu');
    assert.deepEqual(
      findSuites(folder, ['c.test'], chosen).map(({ machine }) => machine.name),
      ['iommufd-edu'],
    );
    assert.deepEqual(names(['nothing']), []);
  });

  it('of Debian are a kernel with its image in /boot, or beside its modules as from Linux 7 on', () => {
    const old = 'debian-kernel-old/boot';
    const modules = (suite: string, version: string) => `debian-kernel-${suite}/lib/modules/${version}`;
    for (const path of [old, modules('old', '6.12'), modules('new', '7.3')]) {
      mkdirSync(join(folder, path), { recursive: true });
    }
    const images = [`${old}/vmlinuz-6.12`, `${modules('new', '7.3')}/vmlinuz`];
    for (const path of images) writeFileSync(join(folder, path), '');
    const kernels = ['old', 'new'].map((suite) => debianKernel(folder, suite));
    assert.deepEqual(
      kernels.map(({ version, image }) => [version, image.slice(folder.length + 1)]),
      [
        ['6.12', images[0]],
        ['7.3', images[1]],
      ],
    );
  });

  it('are refused as a kernel when they are none', () => {
    writeFileSync(join(folder, 'image'), 'not a kernel');
    assert.throws(() => imageVersion(join(folder, 'image')), /not an x86 bzImage/);
  });

  it('are archived in the form the kernel unpacks: aligned to four bytes, closed by a trailer', () => {
    const archive = cpioArchive([directory('d'), file('d/f', 'abcde')]);
    assert.equal(archive.length % 4, 0);
    assert.equal(archive.toString('latin1', 0, 6), '070701');
    const second = archive.indexOf('070701', 6);
    assert.equal(second % 4, 0);
    assert.equal(Number.parseInt(archive.toString('latin1', second + 54, second + 62), 16), 5);
    assert.equal(archive.toString('latin1', second + 110, second + 114), 'd/f\0');
    assert.equal(archive.toString('latin1', second + 116, second + 121), 'abcde');
    assert.ok(archive.includes('TRAILER!!!\0'));
  });
});
