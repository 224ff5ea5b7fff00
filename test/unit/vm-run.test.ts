/** Which machines are started again, shown with programs that stand for QEMU. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Device } from '../../lib/vm/machine.ts';
import { explain, type Job, type Outcome, run } from '../../lib/vm/run.ts';

const edu: Device = { qemu: 'edu,addr=0x10', address: '0000:00:10.0', variable: 'USERDMA_TEST_EDU' };
const disk: Device = { qemu: 'nvme,mdts=10', address: '0000:00:11.0', variable: 'USERDMA_TEST_DISK' };

describe('a machine', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'userdma-unit-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** What the starts were: QEMU's arguments, and what the guest was to run. */
  const starts = () => JSON.parse(readFileSync(join(folder, 'starts'), 'utf8')) as [string, string][];

  /** Runs a job under a QEMU whose `body` sees which start it is, its arguments, and the functions console and end. */
  async function under(body: string): Promise<{ outcome: Outcome; printed: string }> {
    const program = join(folder, 'qemu.mjs');
    writeFileSync(
      program,
      `import { existsSync, readFileSync, writeFileSync, appendFileSync } from 'node:fs';
      const all = process.argv.slice(2).join(' ');
      const share = /path=([^, ]*userdma-vm-[^, ]*)/.exec(all)[1];
      const log = ${JSON.stringify(join(folder, 'starts'))};
      const before = existsSync(log) ? JSON.parse(readFileSync(log, 'utf8')) : [];
      writeFileSync(log, JSON.stringify([...before, [all, readFileSync(share + '/command.sh', 'utf8')]]));
      const start = before.length + 1;
      const console_ = (line) => appendFileSync(share + '/console.log', line + '\\n');
      const end = (status) => writeFileSync(share + '/status', String(status));
      ${body}`,
    );
    let printed = '';
    const job: Job = {
      machine: { name: 'm', iommu: 'none', clock: 'host', modules: [], devices: [edu, disk] },
      qemu: { command: [process.execPath, program], version: '1.0' },
      ...{ kernel: '/k', initrd: '/i', command: ['true'], folder: '/', environment: {}, limit: 60 },
      print: (text) => {
        printed += text;
      },
    };
    return { outcome: await run(job), printed };
  }

  it('that dies before its first process is started once more, whatever QEMU warns of', async () => {
    const { outcome, printed } = await under(
      `if (start === 1) console.error('qemu: warning: slow');
      else { console_('userdma-vm: 1 s: booted'); end(3); }`,
    );
    expect(outcome).toMatchObject({ kind: 'exited', status: 3 });
    expect(printed).toContain('starting once more');
    expect(starts()).toHaveLength(2);
  });

  it('that dies twice is given up', async () => {
    const { outcome } = await under(`console_('Kernel panic - not syncing: VFS');`);
    expect(outcome).toMatchObject({ kind: 'died', panic: 'Kernel panic - not syncing: VFS' });
    expect(starts()).toHaveLength(2);
  });

  it('that dies after its first process began is not started again', async () => {
    const { outcome } = await under(`console_('userdma-vm: 1 s: booted');`);
    expect(outcome).toMatchObject({ kind: 'died' });
    expect(starts()).toHaveLength(1);
  });

  it('is started without a device that QEMU refuses, and the command is told why', async () => {
    const { outcome, printed } = await under(
      `if (all.includes('nvme')) {
        console.error('qemu: -device nvme,mdts=10: mdts is too large');
        process.exit(1);
      }
      end(0);`,
    );
    expect(outcome).toMatchObject({ kind: 'exited', status: 0 });
    expect(printed).toContain('nvme,mdts=10: mdts is too large');
    const [args, script] = starts()[1]!;
    expect(args).toContain('edu,addr=0x10');
    expect(script).toContain('{"USERDMA_TEST_DISK":"QEMU 1.0 refuses the device: mdts is too large"}');
    expect(script).not.toContain('USERDMA_TEST_DISK=');
    expect(script).toContain('USERDMA_TEST_EDU=0000:00:10.0');
  });

  it('that QEMU refuses as a whole is not started again, and says why', async () => {
    const { outcome } = await under(`console.error('qemu: no such machine'); process.exit(1);`);
    expect(starts()).toHaveLength(1);
    expect(explain(outcome)).toContain('no such machine');
  });
});
