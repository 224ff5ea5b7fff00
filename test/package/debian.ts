/** A chroot of Debian 12, made by debootstrap. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { type Cell, NoTool } from './cell.ts';
import { HOME, installNpm, obstacle, USER, use } from './chroot.ts';

/** Where apt gets Debian 12 from on this machine. */
function mirror(): string | undefined {
  const format = '$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)';
  const targets = spawnSync('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    encoding: 'utf8',
  });
  const lines = (targets.stdout ?? '').split('\n').map((line) => line.split(' '));
  return lines.find(
    ([origin, codename, component]) => origin === 'Debian' && codename === 'bookworm' && component === 'main',
  )?.[3];
}

function missing(): string | undefined {
  if (spawnSync('debootstrap', ['--version']).status !== 0) return 'debootstrap is not installed';
  return mirror() === undefined ? 'apt is not set up for Debian 12' : undefined;
}

export const debian: Cell = {
  name: 'Debian 12 with Node.js alone, not as root: install, docs/guide/first-driver.md typed, doctor',
  run(folder, tarball) {
    const reason = obstacle() ?? missing();
    if (reason !== undefined) throw new NoTool(reason);
    const root = join(folder, 'root');
    const words = ['--variant=minbase', '--include=ca-certificates', 'bookworm', root, mirror()!];
    execFileSync('debootstrap', words, { stdio: ['ignore', 'ignore', 'inherit'], maxBuffer: 2 ** 26 });
    cpSync(process.execPath, join(root, 'usr/bin/node'));
    installNpm(root, 'node');
    const user = ['--create-home', '--home-dir', HOME, '--uid', USER, 'user'];
    execFileSync('/usr/sbin/chroot', [root, '/usr/sbin/useradd', ...user]);
    use(root, tarball, 'glibc');
  },
};
