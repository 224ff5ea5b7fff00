/**
 * A kernel of our own, with what Debian's leaves out: built from Debian's package of the sources and `kernel/config`, once
 * (ten minutes or so on two processors), and kept in the cache. Of the sources only those are kept that modules are built
 * with (own-module.ts).
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { onPath } from '../../lib/programs.ts';
import { PrivateApt, reason, systemMirror } from '../../lib/vm/apt.ts';
import { cachedFolder } from '../../lib/vm/cache.ts';
import { HarnessError } from '../../lib/vm/harness-error.ts';
import { imageVersion, type Kernel } from '../../lib/vm/kernel.ts';

/** Tried in this order. The first has the newest kernel that Debian releases. */
const suites = ['trixie-backports', 'trixie'];
/** Always depends on the newest source package of its suite. */
const metaPackage = 'linux-source';
const tools = ['make', 'gcc', 'flex', 'bison', 'bc', 'xz', 'cpio'];

function folderOf(config: string): string {
  return `own-kernel-${createHash('sha256').update(config).digest('hex').slice(0, 12)}`;
}

/** Whether it was built already. @param config path of the configuration */
export function hasOwnKernel(cache: string, config: string): boolean {
  return existsSync(join(cache, folderOf(readFileSync(config, 'utf8'))));
}

/** The kernel in the cache, or one that is built now. @param config path of the configuration */
export function ownKernel(cache: string, config: string): Kernel {
  const text = readFileSync(config, 'utf8');
  const folder = cachedFolder(cache, folderOf(text), (made, work) => build(made, work, text));
  const image = join(folder, 'bzImage');
  return { version: imageVersion(image), image, modules: folder };
}

function build(made: string, work: string, config: string): void {
  checkTools();
  const sources = fetchSources(work);
  console.error('vm: building a kernel for the virtual machine (ten minutes or so, once) ...');
  const out = join(work, 'out');
  make(sources, out, work, ['tinyconfig']);
  writeFileSync(join(out, '.config'), `${readFileSync(join(out, '.config'), 'utf8')}\n${config}`);
  make(sources, out, work, ['olddefconfig']);
  checkConfig(config, readFileSync(join(out, '.config'), 'utf8'));
  make(sources, out, work, [`-j${availableParallelism()}`, 'bzImage', 'modules']);
  copyFileSync(join(out, 'arch/x86/boot/bzImage'), join(made, 'bzImage'));
  copyFileSync(join(out, 'modules.builtin'), join(made, 'modules.builtin'));
  keepHeaders(sources, out, work, headersOf(made));
}

/** What modules are built with: headers, configuration and the programs of the build, 70 MB. */
export function headersOf(folder: string): string {
  return join(folder, 'headers');
}

/** The kernel's own script for packages of headers takes them. */
function keepHeaders(sources: string, out: string, work: string, headers: string): void {
  const script = `$(srctree)/scripts/package/install-extmod-build ${headers}`;
  make(sources, out, work, ['run-command', `KBUILD_RUN_COMMAND=${script}`]);
}

/** Unpacks the newest sources; returns their folder. */
function fetchSources(work: string): string {
  const mirror = systemMirror();
  const failures: string[] = [];
  for (const suite of suites) {
    console.error(`vm: fetching the kernel sources of Debian's ${suite} (about 170 MB) ...`);
    try {
      const apt = join(work, suite);
      mkdirSync(apt);
      const packages = new PrivateApt(apt, suite, mirror);
      const [newest] = packages.dependencies(metaPackage, /^linux-source-\d/);
      if (newest === undefined) throw new Error(`no ${metaPackage} in this suite`);
      const deb = packages.download(newest);
      execFileSync('dpkg-deb', ['-x', deb, join(work, 'deb')]);
      const packed = join(work, 'deb/usr/src');
      const archive = readdirSync(packed).find((name) => name.endsWith('.tar.xz'));
      if (archive === undefined) throw new Error(`no sources in ${deb}`);
      execFileSync('tar', ['-C', work, '-xf', join(packed, archive)]);
      rmSync(packed, { recursive: true });
      return join(work, archive.slice(0, -'.tar.xz'.length));
    } catch (error) {
      failures.push(`${suite}: ${reason(error)}`);
    }
  }
  throw new HarnessError(`no kernel sources for the virtual machine (${failures.join('; ')})`);
}

function make(sources: string, out: string, work: string, args: readonly string[]): void {
  mkdirSync(out, { recursive: true });
  try {
    execFileSync('make', ['-s', '-C', sources, `O=${out}`, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 1 << 28,
    });
  } catch (cause) {
    const log = join(work, '..', 'own-kernel.log');
    writeFileSync(log, String((cause as { stderr?: Buffer }).stderr ?? cause));
    throw new HarnessError(`the kernel for the virtual machine could not be built: see ${log}`);
  }
}

/** Kconfig drops what a kernel does not know, or whose needs are missing, without a word. */
function checkConfig(wanted: string, got: string): void {
  const lines = new Set(got.split('\n'));
  const lost = wanted.split('\n').filter((line) => line.startsWith('CONFIG_') && !lines.has(line));
  if (lost.length > 0) throw new HarnessError(`this kernel does not take ${lost.join(', ')}`);
}

function checkTools(): void {
  const missing = tools.filter((tool) => onPath(tool) === undefined);
  const headers = ['/usr/include/libelf.h', '/usr/include/openssl/ssl.h'].filter((path) => !existsSync(path));
  if (missing.length + headers.length === 0) return;
  throw new HarnessError(
    `building a kernel for the virtual machine needs ${[...missing, ...headers].join(', ')}: ` +
      'apt-get install build-essential flex bison bc xz-utils cpio libelf-dev libssl-dev',
  );
}
