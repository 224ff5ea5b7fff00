/** The Node.js of the guest: this process's own, or another one that USERDMA_VM_NODE names by its path or major version. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { reason } from '../../lib/vm/apt.ts';
import { cachedFolder } from '../../lib/vm/cache.ts';
import { HarnessError } from '../../lib/vm/harness-error.ts';
import { setting } from '../../lib/vm/settings.ts';

/** Path of the program. @param architecture as npm's packages of Node.js name it */
export function guestNode(cache: string, architecture = 'x64'): string {
  const named = setting('NODE');
  if (named === undefined) {
    const major = process.versions.node.split('.')[0]!;
    return architecture === process.arch ? process.execPath : nodeOfMajor(cache, major, architecture);
  }
  return /^\d+$/.test(named) ? nodeOfMajor(cache, named, architecture) : resolve(named);
}

/** The newest release of a major version, from npm, which has the programs as packages. Fetched once. */
export function nodeOfMajor(cache: string, major: string, architecture = 'x64'): string {
  const program = join('node_modules', `node-linux-${architecture}`, 'bin/node');
  try {
    const root = cachedFolder(cache, `node-${major}-${architecture}`, (folder) => {
      console.error(`vm: fetching Node.js ${major} (about 50 MB, once) ...`);
      const packageName = `node-linux-${architecture}@${major}`;
      const quiet = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--force'];
      execFileSync('npm', ['install', '--prefix', folder, ...quiet, packageName], { stdio: 'pipe' });
      if (!existsSync(join(folder, program))) throw new Error(`${packageName} has no bin/node`);
    });
    return join(root, program);
  } catch (error) {
    throw new HarnessError(`no Node.js ${major} from npm: ${reason(error)}`);
  }
}

/** For example 24.22.3, of a program that may be for another processor than this one. */
export function versionOf(node: string): string {
  if (node === process.execPath) return process.versions.node;
  const description = join(node, '../../package.json');
  if (existsSync(description)) {
    return String((JSON.parse(readFileSync(description, 'utf8')) as { version: string }).version);
  }
  return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim().slice(1);
}
