/** reset, regs and selftest on devices, and what every command says of bad input: one sentence and an exit code. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { openPci } from '../../../lib/index.ts';
import { assert, describe, it } from '../../harness.ts';
import { userdma } from '../command-line.ts';
import { device, groupOf } from '../devices.ts';
import { MAIN } from '../doctor.ts';

const edu = device('USERDMA_TEST_EDU');
const wide = device('USERDMA_TEST_EDU_WIDE');
const disk = device('USERDMA_TEST_NVME');
const nic = device('USERDMA_TEST_NIC');

/** The JSON of a command that does what it is told. */
async function json(...words: string[]): Promise<unknown> {
  const { status, stdout, stderr } = await userdma(...words, '--json');
  assert.deepEqual([status, stderr], [0, ''], stdout);
  return stdout === '' ? undefined : JSON.parse(stdout);
}

/** A command fails, with a sentence on stderr and the same one in JSON. */
async function fails(words: readonly string[], status: number, code: string, said: RegExp): Promise<void> {
  const plain = await userdma(...words);
  assert.deepEqual([plain.status, plain.stdout], [status, ''], words.join(' '));
  assert.match(plain.stderr, /^error: .*; .*\n$/);
  assert.match(plain.stderr, said);
  const { status: same, stdout, stderr } = await userdma(...words, '--json');
  assert.deepEqual([same, stderr], [status, ''], words.join(' '));
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
  assert.equal(error.code, code);
  assert.equal(plain.stderr, `error: ${error.message}\n`);
}

describe('commands on devices', () => {
  it('regs reads, dumps and writes', async () => {
    assert.deepEqual(await json('regs', edu, '0', '0'), { offset: 0, words: [0x010000ed] });
    // The register at 4 has the inverse of what was written.
    assert.deepEqual(await json('regs', edu, '0', '4', '0x12345678'), { offset: 4, written: 0x12345678 });
    assert.deepEqual(await json('regs', edu, '0', '4'), { offset: 4, words: [0xedcba987] });
    const { stdout } = await userdma('regs', edu, '0', '--length', '16');
    assert.match(stdout, /^000000 {2}010000ed edcba987 [0-9a-f]{8} [0-9a-f]{8} /);
    assert.equal(stdout.trimEnd().split('\n').length, 1);
    assert.equal((await userdma('regs', edu, '0')).stdout.trimEnd().split('\n').length, 16);
  });

  it('reset and reset --hot say what was reset', async () => {
    const one = await userdma('reset', disk);
    assert.deepEqual([one.status, one.stdout], [0, `function reset of ${disk}\n`]);
    const bus = (await json('reset', device('USERDMA_TEST_EDU_BRIDGED'), '--hot')) as { functions: string[] };
    assert.ok(bus.functions.includes(device('USERDMA_TEST_EDU_NEIGHBOUR')));
  });

  it('selftest finds nothing wrong with a device that works', async () => {
    const works = new Map([
      [edu, ['BAR 0', 'interrupts: intx', 'interrupts: msi']],
      [disk, ['BAR 0', 'interrupts: msix']],
      [nic, ['BAR 0', 'BAR 3', 'interrupts: msi', 'interrupts: msix']],
    ]);
    for (const [address, names] of works) {
      const checks = (await json('selftest', address)) as { name: string; ok?: boolean; result: string }[];
      assert.deepEqual(
        checks.filter(({ ok }) => ok === false),
        [],
      );
      const worked = checks.filter(({ ok }) => ok === true).map(({ name }) => name);
      const expected = [...names, 'coherent memory', 'map and unmap', 'address ranges'];
      assert.deepEqual(
        expected.filter((name) => !worked.includes(name)),
        [],
      );
    }
  });
});

describe('bad input of commands', () => {
  const absent = '0000:00:10.7';
  const withFunction: readonly (readonly string[])[] = [
    ['doctor'],
    ['show'],
    ['bind'],
    ['unbind'],
    ['reset'],
    ['regs'],
    ['selftest'],
  ];
  const line = ([name]: readonly string[], address: string) => [
    ...[name!, address],
    ...(name === 'regs' ? ['0'] : []),
  ];

  it('a BDF that is none', async () => {
    for (const command of withFunction) {
      await fails(
        line(command, '10.0.0.1'),
        2,
        'EINVAL',
        /"10\.0\.0\.1" is not a PCI address; write domain:bus/,
      );
    }
  });

  it('no such device', async () => {
    for (const command of withFunction.slice(1)) {
      await fails(
        line(command, absent),
        3,
        'ENODEV',
        /no PCI function at 0000:00:10\.7; did you mean .*00:10\.0/,
      );
    }
    const { status, stdout } = await userdma('doctor', absent, '--json');
    const { problems } = JSON.parse(stdout) as { problems: { id: string }[] };
    assert.deepEqual([status, problems.map(({ id }) => id)], [1, ['absent']]);
  });

  it('registers that there are not, and values that do not fit', async () => {
    await fails(['regs', edu, '5'], 2, 'EINVAL', /has no BAR 5; it has BAR 0/);
    await fails(['regs', edu, 'x'], 2, 'EINVAL', /BAR is "x"; write a whole number/);
    await fails(['regs', edu, '0', '0x100000'], 2, 'EINVAL', /outside its 1048576 bytes; /);
    await fails(['regs', edu, '0', '2'], 2, 'EINVAL', /misaligned; /);
    await fails(['regs', edu, '0', '4', '0x100000000'], 2, 'EINVAL', /does not fit a 32-bit register; /);
  });

  it('a reset that the device does not have', async () => {
    await fails(['reset', wide], 3, 'EOPNOTSUPP', /no reset of its own/);
  });

  it('a device in use', async () => {
    using _fn = await openPci(disk);
    await fails(['regs', disk, '0'], 5, 'EBUSY', /is open already|is in use/);
  });

  it('no rights', async () => {
    // A machine without the container has iommufd alone.
    const container = existsSync('/dev/vfio/vfio');
    if (container) chmodSync('/dev/vfio/vfio', 0o666);
    const node = container ? `/dev/vfio/${groupOf(disk)}` : '/dev/iommu';
    process.setegid!(1000);
    process.seteuid!(1000);
    try {
      for (const name of ['reset', 'selftest']) {
        await fails([name, disk], 4, 'EACCES', new RegExp(`no permission to open ${node}; `));
      }
      await fails(['bind', disk, '--persist'], 4, 'EACCES', /cannot be written \(EACCES\); run it as root/);
      await fails(['unbind', disk], 4, 'EACCES', /cannot be written \(EACCES\); run it as root/);
    } finally {
      process.seteuid!(0);
      process.setegid!(0);
    }
  });

  it('no sysfs', () => {
    for (const words of [['list'], ...withFunction.slice(1).map((command) => line(command, edu))]) {
      const typed = `mount -t tmpfs none /sys; exec ${process.execPath} ${MAIN} ${words.join(' ')} --json`;
      const { status, stdout } = spawnSync('unshare', ['--mount', 'sh', '-c', typed], { encoding: 'utf8' });
      const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
      assert.deepEqual([status, error.code], [3, 'ENODEV'], error.message);
      assert.match(error.message, /shows no PCI .*; run it where \/sys is mounted/);
    }
  });
});
