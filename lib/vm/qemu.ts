/**
 * Which QEMU runs the machine: the one in the path, or the one that USERDMA_VM_QEMU names by its path or by a suite of
 * Debian. A suite's package is unpacked in the cache with all that it needs. Its C library is newer than this
 * system's, so it is started by the loader that came with it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { onPath } from '../programs.ts';
import { fetched, isSuite, reason, unpack } from './apt.ts';
import { type ArchitectureName, architectures } from './architecture.ts';
import { HarnessError, packagesHint } from './harness-error.ts';
import { setting } from './settings.ts';

export interface Qemu {
  /** The program, and the arguments that come before all others. */
  readonly command: readonly string[];
  /** For example 7.2.22. */
  readonly version: string;
}

export function findQemu(cache: string, architecture: ArchitectureName = 'x86-64'): Qemu {
  const { qemu } = architectures[architecture];
  const named = setting('QEMU');
  const command =
    named === undefined ? [inPath(qemu)] : isSuite(named) ? debianQemu(cache, named, architecture) : [named];
  return { command, version: versionOf(command) };
}

function inPath(program: string): string {
  const path = onPath(program);
  if (path === undefined) throw new HarnessError(`${program} is not installed; ${packagesHint}`);
  return path;
}

function versionOf(command: readonly string[]): string {
  try {
    const [program, ...args] = command;
    const text = execFileSync(program!, [...args, '--version'], { encoding: 'utf8', stdio: 'pipe' });
    return /version ([\d.]+)/.exec(text)![1]!;
  } catch (error) {
    throw new HarnessError(
      `USERDMA_VM_QEMU: ${command.at(-1)} is no QEMU that starts here: ${reason(error)}`,
    );
  }
}

/** The firmware of devices, in the folders of Debian's packages. */
const firmware = ['usr/share/qemu', 'usr/share/seabios', 'usr/lib/ipxe/qemu'];

function debianQemu(cache: string, suite: string, architecture: ArchitectureName): string[] {
  const { qemu, qemuPackages } = architectures[architecture];
  let root: string;
  try {
    root = fetched(cache, `debian-${qemu}-${suite}`, suite, (apt, unfinished) => {
      console.error(`vm: fetching the QEMU of Debian's ${suite} (about 50 MB, once) ...`);
      unpack(apt.downloadAll(qemuPackages), unfinished);
    });
  } catch (error) {
    throw new HarnessError(`no QEMU from Debian's ${suite}: ${reason(error)}`);
  }
  const libraries = ['lib/x86_64-linux-gnu', 'lib'].map((folder) => join(root, 'usr', folder)).join(':');
  const loader = join(root, 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2');
  const folders = firmware.map((folder) => join(root, folder)).filter(existsSync);
  return [
    ...[loader, '--library-path', libraries, '--argv0', qemu, join(root, 'usr/bin', qemu)],
    ...folders.flatMap((folder) => ['-L', folder]),
  ];
}
