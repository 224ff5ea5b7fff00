/** Machines with one thing wrong: doctor names it, and the command that it prints, typed as printed, ends it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Diagnosis } from '../../lib/doctor/doctor.ts';
import { bindPci } from '../../lib/pci/bind.ts';
import { whyAbsent } from '../absent.ts';
import { afterAll, assert, describe, it, skip } from '../harness.ts';
import { device } from './devices.ts';
import { asUser, command, diagnose, env, MAIN, shell } from './doctor.ts';

describe('doctor in a machine with one thing wrong', () => {
  const edu = device('USERDMA_TEST_EDU');
  const sibling = () => device('USERDMA_TEST_SIBLING');
  const neighbour = '0000:02:01.0';
  const node = () => `/dev/vfio/${basename(readlinkSync(`/sys/bus/pci/devices/${edu}/iommu_group`))}`;

  afterAll(() => {
    bindPci(edu);
    chownSync(node(), 0, 0);
  });

  it('finds nothing where nothing is wrong', () => {
    const { problems, ways } = diagnose([edu]);
    assert.deepEqual([problems, ways.vfio], [[], true]);
  });

  it('no driver bound', () => {
    writeFileSync(`/sys/bus/pci/devices/${edu}/driver/unbind`, edu);
    shell(command(diagnose([edu]), 'driver'));
    assert.deepEqual(diagnose([edu]).problems, []);
  });

  it('a driver of the kernel bound', () => {
    const diagnosis = diagnose([sibling()]);
    assert.match(diagnosis.problems[0]!.what, /is bound to virtio-pci, and not to vfio-pci/);
    shell(command(diagnosis, 'driver'));
    assert.deepEqual(diagnose([sibling()]).problems, []);
    shell(`npx userdma unbind ${sibling()}`);
  });

  it('a group that is not viable', () => {
    const former = existsSync(`/sys/bus/pci/devices/${sibling()}/driver`);
    assert.equal(former, true, 'the sibling is bound to a driver of the kernel');
    if (!existsSync(`/sys/bus/pci/devices/${neighbour}/driver`)) bindPci(neighbour);
    shell(command(diagnose([neighbour]), 'not-viable'));
    assert.deepEqual(diagnose([neighbour]).problems, []);
    shell(`npx userdma unbind ${sibling()}`);
  });

  it('a node that this user may not open', () => {
    chownSync(node(), 0, 0);
    chmodSync('/dev/vfio/vfio', 0o666);
    shell(command(diagnose([edu], asUser()), 'node'));
    assert.deepEqual(diagnose([edu], asUser()).problems, []);
  });

  it('64 KiB of locked memory', () => {
    const limited = asUser(65536);
    const wanted = command(diagnose([edu, '--memory', '4'], limited), 'memlock');
    // The shell of the user, whose limit root raises from beside it.
    const script = `kill -STOP $$; ${process.execPath} ${MAIN} doctor ${edu} --memory 4 --json`;
    const [program, ...rest] = [...limited, 'sh', '-c', script];
    const line = [program, ...rest.map((word) => `'${word}'`)].join(' ');
    const raised = wanted.replace('$$', '$user');
    const all = `${line} & user=$!; sleep 1; ${raised}; kill -CONT $user; wait $user`;
    const output = execFileSync('sh', ['-c', all], { encoding: 'utf8', env });
    assert.deepEqual((JSON.parse(output) as Diagnosis).problems, []);
  });

  it('no huge pages', () => {
    const words = [edu, '--hugepages', '2'];
    const { problems } = diagnose(words);
    if (problems.length > 0) shell(command(diagnose(words), 'huge-pages'));
    assert.deepEqual(diagnose(words).problems, []);
  });

  /** An addon that needs a library by that name, and a version of its symbols if one is given. */
  function addonWanting(library: string, version?: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'addon-'));
    const [stub, script, addon] = ['stub.so', 'versions', 'userdma.node'].map((name) => join(folder, name));
    writeFileSync(script!, `${version ?? 'NONE'} { global: *; };\n`);
    const versions = version === undefined ? '' : `-Wl,--version-script=${script}`;
    const cc = 'gcc -shared -nostdlib -x c -';
    shell(`echo 'int answer(void) { return 1; }' | ${cc} -o ${stub} -Wl,-soname,${library} ${versions}`);
    shell(`echo 'int answer(void); int f(void) { return answer(); }' | ${cc} -x none ${stub} -o ${addon}`);
    return addon!;
  }

  for (const [libc, library, version] of [
    ['musl', 'libc.musl-x86_64.so.1'],
    ['glibc 2.99 or later', 'libc.so.6', 'GLIBC_2.99'],
  ] as const) {
    it(`an addon for another libc: ${libc}`, () => {
      const reason = whyAbsent('compiler');
      if (reason !== undefined) skip(reason);
      const addon = addonWanting(library, version);
      const named = diagnose([edu], ['env', `USERDMA_ADDON=${addon}`]);
      const typed = command(named, 'addon');
      assert.match(named.problems[0]!.what, new RegExp(`USERDMA_ADDON .*because it was built for ${libc}:`));
      const after = shell(
        `export USERDMA_ADDON=${addon}; ${typed}; ${process.execPath} ${MAIN} doctor ${edu} --json`,
      );
      assert.deepEqual((JSON.parse(after) as Diagnosis).problems, []);
    });
  }
});
