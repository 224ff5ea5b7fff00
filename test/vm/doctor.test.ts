/** Machines with one thing wrong: doctor names it, and the command that it prints, typed as printed, ends it. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Diagnosis } from '../../lib/doctor/doctor.ts';
import { bindPci } from '../../lib/pci/bind.ts';
import { afterAll, assert, describe, it } from '../harness.ts';
import { device } from './devices.ts';

const MAIN = join(process.cwd(), 'dist', 'bundle', 'cli', 'main.js');
const tools = mkdtempSync(join(tmpdir(), 'tools-'));
writeFileSync(join(tools, 'npx'), `#!/bin/sh\nshift\nexec ${process.execPath} ${MAIN} "$@"\n`, {
  mode: 0o755,
});
chmodSync(tools, 0o755);
// The user has to reach the program in a checkout that is its owner's alone. The host sees nothing of this change.
for (let folder = process.cwd(); folder !== '/'; folder = dirname(folder)) {
  chmodSync(folder, statSync(folder).mode | 0o055);
}
const env = { ...process.env, PATH: `${tools}:${process.env.PATH}` };

/** Without rights, and with a limit of locked memory in bytes. */
const asUser = (limit = 2 ** 26) => [
  ...[
    'prlimit',
    `--memlock=${limit}:${limit}`,
    'setpriv',
    '--reuid',
    '1000',
    '--regid',
    '1000',
    '--clear-groups',
  ],
  ...['--inh-caps=-all', '--'],
];

function diagnose(words: readonly string[], before: readonly string[] = []): Diagnosis {
  const [program, ...rest] = [...before, process.execPath, MAIN, 'doctor', ...words, '--json'];
  const run = spawnSync(program!, rest, { encoding: 'utf8', env });
  assert.equal(run.stderr, '');
  return JSON.parse(run.stdout) as Diagnosis;
}

/** The one problem that there is; its command. */
function command({ problems }: Diagnosis, id: string): string {
  assert.deepEqual(
    problems.map((problem) => problem.id),
    [id],
  );
  return problems[0]!.command!;
}

const shell = (line: string) =>
  execFileSync('sh', ['-ec', line], { env, stdio: ['ignore', 'ignore', 'inherit'] });

describe('doctor in a machine with one thing wrong', () => {
  const edu = device('USERDMA_TEST_EDU');
  const sibling = device('USERDMA_TEST_SIBLING');
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

  it('a group that is not viable', () => {
    if (!existsSync(`/sys/bus/pci/devices/${neighbour}/driver`)) bindPci(neighbour);
    const former = existsSync(`/sys/bus/pci/devices/${sibling}/driver`);
    assert.equal(former, true, 'the sibling is bound to a driver of the kernel');
    shell(command(diagnose([neighbour]), 'not-viable'));
    assert.deepEqual(diagnose([neighbour]).problems, []);
    shell(`npx userdma unbind ${sibling}`);
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
});
