/**
 * The guest's first root: a static busybox, our /init and the kernel modules a machine may ask for. It depends on
 * the kernel and on those files only, so it is built once and kept; what differs from run to run is on the share.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../native/package-root.ts';
import { cpioArchive, directory, type Entry, file, link, program } from './cpio.ts';
import { HarnessError, packagesHint } from './harness-error.ts';
import type { Kernel } from './kernel.ts';
import { type Module, ModuleTree, optionalModules, requiredModules } from './modules.ts';

const applets =
  'sh mount mkdir mv cat echo printf modprobe insmod ifconfig chroot poweroff ls dmesg grep sleep'.split(' ');

function busybox(root: string): Buffer {
  const path = ['bin/busybox', 'usr/bin/busybox'].map((name) => join(root, name)).find(existsSync);
  const content = path === undefined ? undefined : readFileSync(path);
  // A program that needs no loader names none.
  if (content === undefined || content.includes('/lib64/ld-linux')) {
    throw new HarnessError(`a static busybox is needed; ${packagesHint}`);
  }
  return content;
}

/** modules.dep for busybox modprobe: each file, then all it needs, nearest first. */
function dependencyTable(modules: readonly Module[]): string {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const chain = (name: string): string[] => {
    const needs = (byName.get(name)?.needs ?? []).filter((need) => byName.has(need));
    return [...needs, ...needs.flatMap(chain)];
  };
  const line = ({ name }: Module) =>
    `${name}.ko: ${[...new Set(chain(name))].map((need) => `${need}.ko`).join(' ')}\n`;
  return modules.map(line).join('');
}

function contents(kernel: Kernel, init: string, shell: Buffer, names: readonly string[]): Entry[] {
  const modules = new ModuleTree(kernel.modules).closure(names);
  const folder = `lib/modules/${kernel.version}`;
  return [
    ...['bin', 'dev', 'proc', 'sys', 'host', 'layer', 'root', 'share', 'lib', 'lib/modules', folder].map(
      directory,
    ),
    program('init', init),
    program('bin/busybox', shell),
    ...applets.map((name) => link(`bin/${name}`, 'busybox')),
    file(`${folder}/modules.dep`, dependencyTable(modules)),
    ...modules.map((module) => file(`${folder}/${module.name}.ko`, module.content)),
  ];
}

/** What the archive depends on. This program counts too, because it decides what goes in. */
function fingerprint(kernel: Kernel, init: string, shell: Buffer, names: readonly string[]): string {
  const hash = createHash('sha256').update(init).update(shell);
  hash.update(JSON.stringify([kernel, names]));
  for (const path of [kernel.image, fileURLToPath(import.meta.url)]) hash.update(readFileSync(path));
  return hash.digest('hex').slice(0, 16);
}

/**
 * Builds the initrd for `kernel`, or finds it in the cache. Returns its path.
 * @param wanted modules that a machine asks for, beside those that are always there
 * @param root the root with a busybox for the guest's processor
 */
export function prepareInitrd(
  kernel: Kernel,
  cache: string,
  wanted: readonly string[] = [],
  root = '/',
): string {
  const script = join(packageRoot(), 'lib/vm/init.sh');
  const init = readFileSync(script, 'utf8');
  const shell = busybox(root);
  const names = [...requiredModules, ...optionalModules, ...wanted];
  const path = join(cache, `initrd-${kernel.version}-${fingerprint(kernel, init, shell, names)}.cpio`);
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true });
    const unfinished = `${path}.${process.pid}`;
    writeFileSync(unfinished, cpioArchive(contents(kernel, init, shell, names)));
    renameSync(unfinished, path);
  }
  return path;
}
