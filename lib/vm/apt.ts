/**
 * Debian's packages of any suite, fetched with apt and never installed. apt works on lists, state and sources of its
 * own inside a folder, so the system's are not touched and no root is needed. The mirror is the one the system uses.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cachedFolder } from './cache.ts';
import { HarnessError } from './harness-error.ts';

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
  if (mirror === undefined) throw new HarnessError('apt has no Debian mirror to fetch packages from');
  return mirror;
}

/** apt confined to `folder`, seeing `suite` of `mirror` and nothing else. */
export class PrivateApt {
  readonly #folder: string;
  readonly #options: string[];

  /** @param architecture Debian's name of it */
  constructor(folder: string, suite: string, mirror: Mirror, architecture = 'amd64') {
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
      'APT::Architecture': architecture,
      'APT::Architectures': architecture,
      'APT::Sandbox::User': 'root',
      'APT::Install-Recommends': 'false',
      'Acquire::Languages': 'none',
      'Acquire::Retries': '3',
    };
    this.#options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    this.#run('apt-get', 'update', '--error-on=any');
  }

  #run(tool: string, ...args: string[]): string {
    const all = [...this.#options, ...args];
    return execFileSync(tool, all, {
      cwd: this.#folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 1 << 26,
    });
  }

  /** The packages that `name` depends on, of those whose names match. */
  dependencies(name: string, pattern: RegExp): string[] {
    const lines = this.#run('apt-cache', 'depends', name).matchAll(/^\s*Depends: (\S+)/gm);
    return [...lines].map(([, dependency]) => dependency!).filter((dependency) => pattern.test(dependency));
  }

  /** Fetches the package and returns the file. */
  download(name: string): string {
    const before = new Set(readdirSync(this.#folder));
    this.#run('apt-get', 'download', name);
    const file = readdirSync(this.#folder).find((entry) => entry.endsWith('.deb') && !before.has(entry));
    if (file === undefined) throw new Error(`apt-get left no ${name}`);
    return join(this.#folder, file);
  }

  /** Fetches the packages and all that they need, the C library too, and returns the files. */
  downloadAll(names: readonly string[]): string[] {
    this.#run('apt-get', 'install', '--yes', '--download-only', ...names);
    const folder = join(this.#folder, 'cache/archives');
    return readdirSync(folder).flatMap((entry) => (entry.endsWith('.deb') ? [join(folder, entry)] : []));
  }
}

/** Unpacks packages into one root. Its /bin, /lib, /lib64 and /sbin lead into /usr, as Debian's do. */
export function unpack(files: readonly string[], root: string): void {
  for (const name of ['bin', 'lib', 'lib64', 'sbin']) {
    mkdirSync(join(root, 'usr', name), { recursive: true });
    execFileSync('ln', ['-sfn', `usr/${name}`, join(root, name)]);
  }
  for (const file of files) {
    // As a stream, because dpkg-deb would put a folder in the place of a link.
    execFileSync('sh', [
      '-c',
      'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"',
      'sh',
      file,
      root,
    ]);
  }
}

/** The folder `name` of the cache, filled once by `fill`, which gets an apt that sees `suite`. */
export function fetched(
  cache: string,
  name: string,
  suite: string,
  fill: (apt: PrivateApt, root: string) => void,
  architecture?: string,
): string {
  return cachedFolder(cache, name, (root, work) => {
    fill(new PrivateApt(work, suite, systemMirror(), architecture), root);
  });
}

/** Why fetching failed, in one line. */
export function reason(error: unknown): string {
  const { stderr, code, message } = error as { stderr?: string; code?: string; message: string };
  if (code === 'ENOENT') return message;
  const lines = String(stderr || message)
    .trim()
    .split('\n');
  return (lines.find((line) => line.startsWith('E: ')) ?? lines[0]!).trim();
}

/** The name of a suite of Debian rather than a path. */
export function isSuite(name: string): boolean {
  return /^[a-z]+(?:-[a-z]+)*$/.test(name);
}
