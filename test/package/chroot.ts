/**
 * The package on a system that has Node.js, or what stands for it, and nothing else: a chroot, entered by a user who is not
 * root. The page for a first driver is typed there as it is printed, with no compiler, and no script of a package runs.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import { transcript } from './transcript.ts';

export const USER = '1000';
export const HOME = '/home/user';

/** Why there can be no chroot here; undefined when there can. */
export function obstacle(): string | undefined {
  if (process.platform !== 'linux') return 'this is not Linux';
  return process.getuid?.() === 0 ? undefined : 'this takes root';
}

/** npm, as it is on this machine. @param node the program that runs it */
export function installNpm(root: string, node: string): void {
  const npm = realpathSync(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim());
  const folder = join(npm, '..', '..'); // .../npm/bin/npm-cli.js
  cpSync(folder, join(root, 'usr/lib/node_modules/npm'), { recursive: true });
  for (const name of ['npm', 'npx']) {
    program(root, name, `exec ${node} /usr/lib/node_modules/npm/bin/${name}-cli.js "$@"`);
  }
  cpSync('/etc/resolv.conf', join(root, 'etc/resolv.conf'), { dereference: true });
}

/** A command of the system that is a script. */
export function program(root: string, name: string, script: string): void {
  writeFileSync(join(root, 'usr/bin', name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(root, 'usr/bin', name), 0o755);
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
    environment.NODE_EXTRA_CA_CERTS = '/etc/npm-ca.pem';
  }
  return environment;
}

/** Runs a script of the shell as the user. The mounts go when it ends. Exit status and output. */
function run(root: string, environment: Record<string, string>, script: string) {
  const inside = `cd ${HOME}\n${script}`;
  const mounts = `mount -t proc proc "$0/proc" && mount -t sysfs -o ro sysfs "$0/sys"`;
  const shell = existsSync(join(root, 'bin/bash')) ? '/bin/bash' : '/bin/sh';
  const enter = `exec /usr/sbin/chroot --userspec=${USER}:${USER} "$0" ${shell} -c "$1"`;
  const words = ['--mount', 'sh', '-c', `${mounts} && ${enter}`, root, inside];
  const done = spawnSync('unshare', words, { encoding: 'utf8', env: environment, maxBuffer: 2 ** 26 });
  return { status: done.status ?? 1, output: `${done.stdout}${done.stderr}` };
}

/** What the user does, by what it shows. @param libc of the system, as doctor says it */
function deeds(libc: string, typed: Readonly<Record<string, string>>): Record<string, string> {
  const page = readFileSync(join(packageRoot(), 'docs/guide/first-driver.md'), 'utf8');
  const isRight = `machine.libc.startsWith('${libc}') && !machine.root && machine.addon === undefined`;
  return {
    'the user is not root, and there is no compiler':
      '[ "$(id -u)" -ne 0 ] && for tool in cc gcc g++ clang make python3; do ! command -v $tool || exit 1; done',
    'npm install': `mkdir plain && cd plain && echo '{}' >package.json && npm install /userdma.tgz`,
    'the addon gives memory': `cd plain && cat >memory.mjs <<'END' && node memory.mjs
import { MemfdMemory } from 'userdma';
const memory = new MemfdMemory();
if (memory.allocate(4096).byteLength !== 4096) throw memory;
memory.close();
END`,
    'docs/guide/first-driver.md': transcript(page, {
      'npm install userdma': 'npm install /userdma.tgz',
      ...typed,
    }),
    // Problems are exit code 1: this machine may have no IOMMU.
    'userdma doctor': `cd plain && { npx userdma doctor || [ $? -eq 1 ]; } && { npx userdma doctor --json || [ $? -eq 1 ]; } >doctor.json &&
      node -e "const { machine } = JSON.parse(require('fs').readFileSync('doctor.json')); if (!(${isRight})) throw machine"`,
  };
}

/**
 * Does all that in a system.
 * @param typed what is typed there instead of a line of the page
 * @param more what else is done there
 */
export function use(
  root: string,
  tarball: string,
  libc: string,
  typed: Readonly<Record<string, string>> = {},
  more: Readonly<Record<string, string>> = {},
): void {
  cpSync(tarball, join(root, 'userdma.tgz'));
  const environment = {
    HOME,
    PATH: '/usr/bin:/bin',
    npm_config_update_notifier: 'false',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    ...npmEnvironment(root),
  };
  for (const [name, script] of Object.entries({ ...deeds(libc, typed), ...more })) {
    const { status, output } = run(root, environment, script);
    if (status !== 0) throw new Error(`${name}: ${output}`);
  }
}
