/**
 * A chroot with musl instead of glibc. There is no Node.js for musl in npm, but Bun for musl, which has Node-API and loads
 * the same file. The system is musl of Debian, a static busybox, Bun and npm. Bun wants a C++ library, of which
 * it uses some thirty functions. They come out of Debian's libstdc++.a, by the way on which the addon gets its own.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import { type Cell, NoTool } from './cell.ts';
import { HOME, installNpm, obstacle, program, USER, use } from './chroot.ts';
import { installNode } from './emulated.ts';

const MUSL = '/lib/x86_64-linux-musl/libc.so';
const BUN = '@oven/bun-linux-x64-musl';

function missing(): string | undefined {
  if (process.arch !== 'x64') return 'this is for x64';
  if (!existsSync(MUSL)) return 'the package musl of Debian is not installed';
  return existsSync('/bin/busybox') ? undefined : 'busybox-static is not installed';
}

/** The names of C++ that a program wants from its C++ library. */
function wanted(file: string): string[] {
  const symbols = execFileSync('readelf', ['-W', '--dyn-syms', file], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const lines = symbols.split('\n').map((line) => line.trim().split(/\s+/));
  const isUndefined = ([, , , , , , section]: string[]) => section === 'UND';
  return lines
    .filter((words) => isUndefined(words) || words[7]?.startsWith('_ZTVN10__cxxabiv'))
    .map((words) => (words[7] ?? '').replace(/@.*/, ''))
    .filter((name) => /^(_Z|__cxa_|__dynamic_cast|__once)/.test(name) && !ABSENT.has(name));
}

/** In no libstdc++ of Debian 12: it was added by a later one. And in libc. */
const ABSENT = new Set([
  '_ZSt21__glibcxx_assert_failPKciS0_S0_',
  '__cxa_atexit',
  '__cxa_finalize',
  '__cxa_thread_atexit_impl',
]);
const LATER = `#include <cstdlib>
namespace std { void __glibcxx_assert_fail(const char*, int, const char*, const char*) noexcept { abort(); } }
`;

function buildLibrary(folder: string, bun: string, out: string): void {
  const later = join(folder, 'later.cc');
  writeFileSync(later, LATER);
  execFileSync('g++', [
    ...['-shared', '-fPIC', '-O2', '-std=c++17', '-o', out, '-Wl,-soname,libstdc++.so.6', '-nodefaultlibs'],
    ...[later, join(packageRoot(), 'test', 'package', 'portable.cc')],
    ...wanted(bun).map((name) => `-Wl,-u,${name}`),
    ...['-Wl,-Bstatic', '-lstdc++', '-lgcc_eh', '-lgcc'],
  ]);
}

function makeSystem(folder: string, root: string): void {
  const bin = installNode(BUN, '1.4.5', join(folder, 'bun'));
  if (bin === undefined) throw new NoTool('npm has no Bun for musl');
  const libraries = join(root, 'usr/lib');
  for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'lib', 'usr/bin', 'usr/lib', HOME]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync(MUSL, join(root, 'lib/ld-musl-x86_64.so.1'));
  symlinkSync('../../lib/ld-musl-x86_64.so.1', join(libraries, 'libc.musl-x86_64.so.1'));
  copyFileSync(join(bin, 'bun'), join(root, 'usr/bin/bun'));
  buildLibrary(folder, join(bin, 'bun'), join(libraries, 'libstdc++.so.6'));
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  execFileSync('/usr/sbin/chroot', [root, '/bin/busybox', '--install', '-s', '/bin']);
  symlinkSync('/bin/busybox', join(root, 'usr/bin/env'));
  for (const name of ['null', 'urandom']) execFileSync('cp', ['-a', join('/dev', name), join(root, 'dev')]);
  chmodSync(join(root, 'tmp'), 0o1777);
}

/** Tests of the addon as they are compiled, and the addon for tests. */
function addTests(root: string): void {
  const checkout = packageRoot();
  const packages = ['fast-check', 'pure-rand'].map((name) => join('node_modules', name));
  for (const name of ['package.json', 'dist/lib', 'dist/examples', 'dist/test', ...packages]) {
    cpSync(join(checkout, name), join(root, 'checkout', name), { recursive: true });
  }
  const prebuild = join(checkout, 'dist', 'test', 'package', 'prebuild.js');
  execFileSync(process.execPath, [prebuild, '--testing', join(root, 'checkout', 'prebuilds')]);
}

/** Without interrupts, for which Bun has no event loop of libuv, and listeners of SIGBUS, which Bun does not have either. */
const TESTS = `cd /checkout && export USERDMA_TESTING=1 USERDMA_ADDON=/checkout/prebuilds/linux-x64/userdma.node &&
  bun test ./dist/test/native/region.test.js ./dist/test/native/copy.test.js &&
  bun test --test-name-pattern 'a register window|gives EIO' ./dist/test/native/mmio.test.js`;

/** What is typed where Bun is not as Node.js: `npm init`, which it does not run, and tests. */
const TYPED = {
  'npm init -y && npm pkg set type=module': `echo '{"type":"module"}' >package.json`,
  'npx tsc && node --test out/*.test.js': 'npx tsc && bun test ./out/*.test.js',
};

export const musl: Cell = {
  name: 'musl with Bun and npm alone, not as root: install, docs/guide/first-driver.md typed, doctor, tests of the addon',
  run(folder, tarball) {
    const reason = obstacle() ?? missing();
    if (reason !== undefined) throw new NoTool(reason);
    const root = join(folder, 'root');
    makeSystem(folder, root);
    program(root, 'node', 'exec bun "$@"');
    installNpm(root, 'node');
    chownSync(join(root, HOME), Number(USER), Number(USER));
    addTests(root);
    use(root, tarball, 'musl', TYPED, { 'tests of the addon': TESTS });
  },
};
