/**
 * A machine that was booted with the IOMMU off: doctor names the word of the command line. The command that it prints
 * changes the word with which the machine boots, to the one with which the machine `intel` does, where doctor
 * finds nothing wrong. The boot loader and the boot are stand-ins here.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';
import { command, diagnose, shell, tool } from '../doctor.ts';

const GRUB = '/etc/default/grub';

describe('doctor in a machine whose IOMMU is off', () => {
  it('names the word, and the command writes the one that switches it on', () => {
    mkdirSync('/etc/default', { recursive: true });
    writeFileSync(GRUB, 'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX="quiet intel_iommu=off iommu=nopt"\n');
    tool('update-grub', 'echo update-grub');
    tool('reboot', 'echo reboot');
    const diagnosis = diagnose([device('USERDMA_TEST_EDU')]);
    assert.match(diagnosis.problems[0]!.what, /the IOMMU is off: the kernel was booted with intel_iommu=off/);
    assert.equal(diagnosis.ways.vfio, false);
    assert.equal(shell(command(diagnosis, 'iommu-off')), 'update-grub\nreboot\n');
    assert.equal(
      readFileSync(GRUB, 'utf8'),
      'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX="quiet intel_iommu=on iommu=nopt"\n',
    );
  });
});
