/** The Node.js of the guest: this process's own, or another one that USERDMA_VM_NODE names by its path or major version. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { reason } from '../../lib/vm/apt.ts';
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
  const folder = join(cache, `node-${major}-${architecture}`);
  const program = join('node_modules', `node-linux-${architecture}`, 'bin/node');
  if (!existsSync(folder)) {
    mkdirSync(cache, { recursive: true });
    const work = mkdtempSync(join(cache, 'fetch-'));
    try {
      console.error(`vm: fetching Node.js ${major} (about 50 MB, once) ...`);
      const packageName = `node-linux-${architecture}@${major}`;
      const quiet = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--force'];
      execFileSync('npm', ['install', '--prefix', work, ...quiet, packageName], { stdio: 'pipe' });
      if (!existsSync(join(work, program))) throw new Error(`${packageName} has no bin/node`);
      // Another process may have been faster: then its folder stays.
      if (!existsSync(folder)) renameSync(work, folder);
    } catch (error) {
      throw new HarnessError(`no Node.js ${major} from npm: ${reason(error)}`);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  return join(folder, program);
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
