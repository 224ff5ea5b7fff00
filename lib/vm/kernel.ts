/**
 * Which kernel the guest runs: the one that USERDMA_VM_KERNEL names by the path of its image or by a suite of Debian,
 * else this computer's own when it has what we need, else Debian's package, fetched once.
 */
import { accessSync, closeSync, constants, existsSync, openSync, readSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { isSuite } from './apt.ts';
import { debianKernel } from './debian-kernel.ts';
import { HarnessError } from './harness-error.ts';
import { ModuleTree, requiredModules } from './modules.ts';
import { setting } from './settings.ts';

export interface Kernel {
  readonly version: string;
  /** Path of the bzImage. */
  readonly image: string;
  /** Its `/lib/modules/<version>` folder. */
  readonly modules: string;
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** The version a bzImage carries in its setup header (Documentation/arch/x86/boot.rst, kernel_version). */
export function imageVersion(image: string): string {
  const header = Buffer.alloc(0x10200);
  const fd = openSync(image, 'r');
  try {
    readSync(fd, header, 0, header.length, 0);
  } finally {
    closeSync(fd);
  }
  if (header.toString('latin1', 0x202, 0x206) !== 'HdrS')
    throw new HarnessError(`${image} is not an x86 bzImage`);
  const start = header.readUInt16LE(0x20e) + 0x200;
  return header.toString('latin1', start, start + 256).split(/[ \0]/)[0]!;
}

function missingModules(folder: string): string[] {
  const tree = new ModuleTree(folder);
  return requiredModules.filter((name) => !tree.has(name));
}

function namedKernel(image: string): Kernel {
  if (!readable(image)) throw new HarnessError(`USERDMA_VM_KERNEL: cannot read ${image}`);
  const version = imageVersion(image);
  const beside = ['../lib/modules', '../usr/lib/modules', '.'].map((folder) =>
    join(dirname(image), folder, version),
  );
  const candidates = [setting('MODULES'), ...beside, `/lib/modules/${version}`];
  const modules = candidates.find((folder) => folder !== undefined && existsSync(folder));
  if (modules === undefined) {
    throw new HarnessError(
      `no modules of ${version} found for ${image}: name their folder in USERDMA_VM_MODULES`,
    );
  }
  const missing = missingModules(modules);
  if (missing.length > 0)
    throw new HarnessError(`${modules} has no ${missing.join(', ')}: this kernel cannot be used`);
  return { version, image, modules };
}

function ownKernel(): Kernel | undefined {
  const version = release();
  const image = `/boot/vmlinuz-${version}`;
  const modules = `/lib/modules/${version}`;
  const usable = readable(image) && existsSync(modules) && missingModules(modules).length === 0;
  return usable ? { version, image, modules } : undefined;
}

export function findKernel(cache: string): Kernel {
  const named = setting('KERNEL');
  if (named === undefined) return ownKernel() ?? debianKernel(cache);
  return isSuite(named) ? debianKernel(cache, named) : namedKernel(named);
}
