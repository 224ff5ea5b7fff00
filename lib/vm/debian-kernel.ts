/**
 * Debian's kernel package, fetched with apt and unpacked, never installed. apt works on lists, state and sources
 * of its own inside the cache folder, so the system's are not touched and no root is needed. The mirror is the one
 * the system uses; only the suite differs.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { HarnessError } from './harness-error.ts';
import type { Kernel } from './kernel.ts';

/** Tried in this order. Both carry a 6.12 kernel with VFIO type1, udmabuf, dma-heaps and virtio-iommu. */
const suites = ['bookworm-backports', 'trixie'];
/** Always depends on the newest kernel of its suite. */
const metaPackage = 'linux-image-amd64';
const ownNames = 'name USERDMA_VM_KERNEL (a bzImage) and USERDMA_VM_MODULES yourself';

/** A mirror as apt's sources describe it. */
interface Mirror {
  readonly uri: string;
  readonly keyring: string | undefined;
}

function deb822Mirrors(text: string): Mirror[] {
  const stanzas = text.replace(/^#.*\n/gm, '').split(/\n\s*\n/);
  return stanzas.flatMap((stanza) => {
    const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.+)$`, 'im').exec(stanza)?.[1]?.trim();
    const keyring = field('Signed-By');
    return (field('URIs') ?? '').split(/\s+/).map((uri) => ({ uri, keyring }));
  });
}

function oneLineMirrors(text: string): Mirror[] {
  const lines = text.matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+\S+/gm);
  return [...lines].map(([, options, uri]) => ({
    uri: uri!,
    keyring: /signed-by=(\S+)/.exec(options ?? '')?.[1],
  }));
}

/** The system's Debian archive: its path ends in /debian, unlike that of security updates and of third parties. */
export function systemMirror(): Mirror {
  const folder = '/etc/apt/sources.list.d';
  const more = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  const mirrors = ['/etc/apt/sources.list', ...more].filter(existsSync).flatMap((path) => {
    const text = readFileSync(path, 'utf8');
    if (path.endsWith('.sources')) return deb822Mirrors(text);
    return path.endsWith('.list') ? oneLineMirrors(text) : [];
  });
  const mirror = mirrors.find(({ uri }) => /\/debian\/?$/.test(uri));
  if (mirror === undefined) {
    throw new HarnessError(
      `no kernel for the virtual machine: apt has no Debian mirror to fetch one from; ${ownNames}`,
    );
  }
  return mirror;
}

/** apt confined to `folder`, seeing `suite` of `mirror` and nothing else. */
export class PrivateApt {
  readonly #folder: string;
  readonly #options: string[];

  constructor(folder: string, suite: string, mirror: Mirror) {
    this.#folder = folder;
    const at = (name: string) => join(folder, name);
    for (const name of ['lists/partial', 'cache/archives/partial']) mkdirSync(at(name), { recursive: true });
    const signedBy = mirror.keyring === undefined ? '' : ` [signed-by=${mirror.keyring}]`;
    writeFileSync(at('sources.list'), `deb${signedBy} ${mirror.uri} ${suite} main\n`);
    const settings = {
      'Dir::State': folder,
      'Dir::State::lists': at('lists'),
      'Dir::State::status': '/dev/null',
      'Dir::Cache': at('cache'),
      'Dir::Etc::sourcelist': at('sources.list'),
      'Dir::Etc::sourceparts': '-',
      'APT::Architecture': 'amd64',
      'APT::Sandbox::User': 'root',
      'Acquire::Languages': 'none',
      'Acquire::Retries': '3',
    };
    this.#options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  }

  #run(tool: string, ...args: string[]): string {
    const all = [...this.#options, ...args];
    return execFileSync(tool, all, {
      cwd: this.#folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Fetches the package `name` depends on and returns the file. */
  download(name: string): string {
    this.#run('apt-get', 'update', '--error-on=any');
    const dependency = /Depends: (linux-\S+)/.exec(this.#run('apt-cache', 'depends', name))?.[1];
    if (dependency === undefined) throw new Error(`no ${name} in this suite`);
    this.#run('apt-get', 'download', dependency);
    const file = readdirSync(this.#folder).find((entry) => entry.endsWith('.deb'));
    if (file === undefined) throw new Error(`apt-get left no ${dependency}`);
    return join(this.#folder, file);
  }
}

/** Unpacks the package so that `<root>/boot` and `<root>/lib/modules` are there. */
function unpack(deb: string, root: string): void {
  execFileSync('dpkg-deb', ['-x', deb, root]);
  if (!existsSync(join(root, 'lib'))) symlinkSync('usr/lib', join(root, 'lib'));
}

function kernelIn(root: string): Kernel {
  const boot = existsSync(join(root, 'boot')) ? readdirSync(join(root, 'boot')) : [];
  const name = boot.find((entry) => entry.startsWith('vmlinuz-'));
  if (name === undefined) throw new Error(`no kernel in ${root}`);
  const version = name.slice('vmlinuz-'.length);
  return { version, image: join(root, 'boot', name), modules: join(root, 'lib/modules', version) };
}

function fetch(cache: string, root: string, suite: string, mirror: Mirror): void {
  const work = mkdtempSync(join(cache, 'fetch-'));
  try {
    const unpacked = join(work, 'root');
    unpack(new PrivateApt(work, suite, mirror).download(metaPackage), unpacked);
    kernelIn(unpacked);
    renameSync(unpacked, root);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export function reason(error: unknown): string {
  const { stderr, code, message } = error as { stderr?: string; code?: string; message: string };
  if (code === 'ENOENT') return message;
  const lines = (stderr || message).trim().split('\n');
  return (lines.find((line) => line.startsWith('E: ')) ?? lines[0]!).trim();
}

/** The kernel in the cache, or a fresh one from the mirror. */
export function debianKernel(cache: string): Kernel {
  const root = join(cache, 'debian-kernel');
  if (existsSync(root)) return kernelIn(root);
  mkdirSync(cache, { recursive: true });
  const mirror = systemMirror();
  const failures: string[] = [];
  for (const suite of suites) {
    console.error(`vm: fetching the kernel of Debian's ${suite} (about 100 MB, once) ...`);
    try {
      fetch(cache, root, suite, mirror);
      return kernelIn(root);
    } catch (error) {
      failures.push(`${suite}: ${reason(error)}`);
    }
  }
  throw new HarnessError(`no kernel for the virtual machine (${failures.join('; ')}); ${ownNames}`);
}
