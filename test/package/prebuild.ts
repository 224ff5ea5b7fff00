/**
 * Builds the addons that are published, for both processors, and checks that each needs no more than it may.
 *
 *      node dist/test/package/prebuild.js [--testing] [folder, default prebuilds]
 *
 * With --testing they have the functions that stand in for a device in tests, and are else the same.
 *
 * One file serves glibc and musl: it names no library. Node.js has a C library loaded before any addon, and all names
 * are found there. portable.cc has what the two do not share.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../lib/native/package-root.ts';

interface Target {
  readonly arch: string;
  /** As Debian names it; the package is g++-aarch64-linux-gnu. */
  readonly triplet: string;
  readonly flags: readonly string[];
}

export const targets: readonly Target[] = [
  { arch: 'x64', triplet: 'x86_64-linux-gnu', flags: [] },
  // Without: calls of a libgcc function that asks glibc which processor this is.
  { arch: 'arm64', triplet: 'aarch64-linux-gnu', flags: ['-mno-outline-atomics'] },
];

const COMPILE = [
  ...['-shared', '-fPIC', '-O2', '-s', '-std=c++17', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
  ...['-fno-omit-frame-pointer', '-DNAPI_VERSION=9', '-DBUILDING_NODE_EXTENSION'],
];

const LINK = [
  '-nodefaultlibs',
  '-Wl,-Bstatic',
  '-lstdc++',
  '-lgcc_eh',
  '-lgcc',
  '-Wl,-z,nodelete',
  '-Wl,-z,relro',
];

/** What Node.js looks for; all else is the addon's own, its parts of libstdc++ too. */
const EXPORTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

/** Functions of libc that musl has and glibc had before 2.28, in every version with the same arguments. */
const LIBC = new Set(
  `__cxa_finalize __errno_location __isoc99_sscanf __pthread_key_create __tls_get_addr abort close dl_iterate_phdr dlsym
  eventfd fallocate fclose fcntl fgets flock fopen fputc fputs free fstatfs ftruncate fwrite getauxval getenv ioctl lseek malloc
  memchr memcmp memcpy memfd_create memmove memset mmap munmap open pread pthread_mutex_lock pthread_mutex_unlock
  pthread_once pwrite raise read realloc sigaction sigemptyset signal sprintf stderr strchr strcmp strlen strncmp strnlen syscall
  sysconf write _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable __gmon_start__`.split(/\s+/),
);

export function build(root: string, target: Target, out: string, testing: boolean): void {
  const headers = join(dirname(dirname(process.execPath)), 'include', 'node');
  if (!existsSync(join(headers, 'node_api.h')))
    throw new Error(`the headers of Node.js are not in ${headers}`);
  const native = join(root, 'native');
  const sources = readdirSync(native).filter((name) => name.endsWith('.cc'));
  mkdirSync(dirname(out), { recursive: true });
  const exported = join(dirname(out), 'exports.map');
  writeFileSync(exported, `{ global: ${EXPORTS.join('; ')}; local: *; };\n`);
  execFileSync(
    `${target.triplet}-g++`,
    [
      ...[...COMPILE, ...target.flags, `-I${headers}`, '-o', out],
      ...(testing ? [] : ['-DUSERDMA_RELEASE']),
      ...[...sources.map((name) => join(native, name)), join(root, 'test', 'package', 'portable.cc')],
      ...[...LINK, `-Wl,--version-script=${exported}`],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  execFileSync('rm', [exported]);
}

/** What is wrong with a built addon; empty when nothing is. */
export function faults(path: string, testing = false): string[] {
  const read = (...flags: string[]) => execFileSync('readelf', ['-W', ...flags, path], { encoding: 'utf8' });
  const dynamic = read('--dynamic');
  const wrong: string[] = [];
  if (/\(NEEDED\)/.test(dynamic)) wrong.push('it names a library');
  if (/STATIC_TLS/.test(dynamic)) wrong.push('musl refuses its thread-local memory');
  if (!/NODELETE/.test(dynamic)) wrong.push('it can be unloaded, and the SIGBUS handler with it');
  if (!/ userdma_fault_table /.test(read('--sections'))) wrong.push('the table of faults is gone');
  const symbols = read('--dyn-syms')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  const undefinedNames = symbols.filter((words) => words[6] === 'UND' && words[7]).map((words) => words[7]!);
  const unknown = undefinedNames.filter((name) => !LIBC.has(name) && !/^(napi|node_api|uv)_/.test(name));
  if (unknown.length > 0) wrong.push(`not every libc has ${unknown.join(', ')}`);
  const exported = symbols
    .filter((words) => words[4] === 'GLOBAL' && words[6] !== 'UND')
    .map((words) => words[7]!);
  if (!testing && readFileSync(path).includes('windowPastEnd')) wrong.push('it has functions for tests');
  const extra = exported.filter((name) => !EXPORTS.includes(name) && name !== undefined);
  if (extra.length > 0) wrong.push(`it exports ${extra.join(', ')}`);
  return wrong;
}

function main(folder: string, testing: boolean): number {
  const root = packageRoot();
  for (const target of targets) {
    const out = join(folder, `linux-${target.arch}`, 'userdma.node');
    build(root, target, out, testing);
    const wrong = faults(out, testing);
    if (wrong.length > 0) {
      console.error(`${out}: ${wrong.join('; ')}`);
      return 1;
    }
  }
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { testing: { type: 'boolean' } },
  });
  process.exitCode = main(
    resolve(positionals[0] ?? join(packageRoot(), 'prebuilds')),
    values.testing === true,
  );
}
