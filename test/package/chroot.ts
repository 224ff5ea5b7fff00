/**
 * The package on a system that has Debian 12, Node.js and nothing else: a chroot, entered by a user who is not root. The
 * page for a first driver is typed there as it is printed, with no compiler, and no script of a package runs. It takes root
 * and debootstrap.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import { type Cell, NoTool } from './cell.ts';
import { transcript } from './transcript.ts';

const USER = '1000';
const HOME = '/home/user';

/** Why there can be no chroot here; undefined when there can. */
function obstacle(): string | undefined {
  if (process.platform !== 'linux') return 'this is not Linux';
  if (process.getuid?.() !== 0) return 'this takes root';
  if (spawnSync('debootstrap', ['--version']).status !== 0) return 'debootstrap is not installed';
  return mirror() === undefined ? 'apt is not set up for Debian 12' : undefined;
}

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

/** Debian and Node.js with npm, as they are on this machine. */
function makeSystem(root: string): void {
  const words = ['--variant=minbase', '--include=ca-certificates', 'bookworm', root, mirror()!];
  execFileSync('debootstrap', words, { stdio: ['ignore', 'ignore', 'inherit'], maxBuffer: 2 ** 26 });
  cpSync(process.execPath, join(root, 'usr/bin/node'));
  const npm = realpathSync(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim());
  const folder = join(npm, '..', '..'); // .../npm/bin/npm-cli.js
  cpSync(folder, join(root, 'usr/lib/node_modules/npm'), { recursive: true });
  for (const name of ['npm', 'npx']) {
    const command = join(root, 'usr/bin', name);
    writeFileSync(command, `#!/bin/sh\nexec node /usr/lib/node_modules/npm/bin/${name}-cli.js "$@"\n`);
    chmodSync(command, 0o755);
  }
  cpSync('/etc/resolv.conf', join(root, 'etc/resolv.conf'), { dereference: true });
  execFileSync('/usr/sbin/chroot', [
    root,
    '/usr/sbin/useradd',
    '--create-home',
    '--home-dir',
    HOME,
    '--uid',
    USER,
    'user',
  ]);
}

/** How npm reaches the registry on this machine. */
function npmEnvironment(root: string): Record<string, string> {
  const ask = (key: string) => execFileSync('npm', ['config', 'get', key], { encoding: 'utf8' }).trim();
  const environment: Record<string, string> = {
    npm_config_registry: ask('registry'),
    npm_config_ignore_scripts: 'true',
  };
  const certificates = ask('cafile');
  if (certificates !== 'null' && existsSync(certificates)) {
    cpSync(certificates, join(root, 'etc/npm-ca.pem'), { dereference: true });
    chmodSync(join(root, 'etc/npm-ca.pem'), 0o644);
    environment.npm_config_cafile = '/etc/npm-ca.pem';
  }
  return environment;
}

class Chroot {
  readonly #root: string;
  readonly #environment: Record<string, string>;

  constructor(root: string) {
    this.#root = root;
    const base = {
      HOME,
      PATH: '/usr/bin:/bin',
      npm_config_update_notifier: 'false',
      npm_config_audit: 'false',
      npm_config_fund: 'false',
    };
    this.#environment = { ...base, ...npmEnvironment(root) };
  }

  /** Runs a script of the shell as the user. The mounts go when it ends. Exit status and output. */
  run(script: string): { status: number; output: string } {
    const inside = `cd ${HOME}\n${script}`;
    const mounts = `mount -t proc proc "$0/proc" && mount -t sysfs -o ro sysfs "$0/sys"`;
    const enter = `exec /usr/sbin/chroot --userspec=${USER}:${USER} "$0" /bin/bash -c "$1"`;
    const words = ['--mount', 'sh', '-c', `${mounts} && ${enter}`, this.#root, inside];
    const run = spawnSync('unshare', words, { encoding: 'utf8', env: this.#environment, maxBuffer: 2 ** 26 });
    return { status: run.status ?? 1, output: `${run.stdout}${run.stderr}` };
  }
}

/** What the user does, by what it shows. */
function deeds(page: string): Record<string, string> {
  return {
    'the user is not root, and there is no compiler':
      '[ "$(id -u)" -ne 0 ] && for tool in cc gcc g++ clang make python3; do ! command -v $tool || exit 1; done',
    'npm install': 'mkdir plain && cd plain && npm init -y >/dev/null && npm install /userdma.tgz',
    'docs/guide/first-driver.md': transcript(page, { 'npm install userdma': 'npm install /userdma.tgz' }),
    // Problems are exit code 1: this machine may have no IOMMU.
    'userdma doctor': `cd plain && { npx userdma doctor || [ $? -eq 1 ]; } && { npx userdma doctor --json || [ $? -eq 1 ]; } >doctor.json &&
      node -e "const { machine } = JSON.parse(fs.readFileSync('doctor.json')); if (machine.root || machine.addon !== undefined) throw machine"`,
  };
}

export const debian: Cell = {
  name: 'Debian 12 with Node.js alone, not as root: install, docs/guide/first-driver.md typed, doctor',
  run(folder, tarball) {
    const reason = obstacle();
    if (reason !== undefined) throw new NoTool(reason);
    const root = join(folder, 'root');
    makeSystem(root);
    cpSync(tarball, join(root, 'userdma.tgz'));
    const system = new Chroot(root);
    const page = readFileSync(join(packageRoot(), 'docs/guide/first-driver.md'), 'utf8');
    for (const [name, script] of Object.entries(deeds(page))) {
      const { status, output } = system.run(script);
      if (status !== 0) throw new Error(`${name}: ${output}`);
    }
  },
};
