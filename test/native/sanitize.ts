/**
 * The native tests once more, with the addon under AddressSanitizer and UndefinedBehaviorSanitizer:
 *
 *      node dist/test/native/sanitize.js [vitest arguments, default TESTS]
 *
 * Works in a copy of the sources in build/sanitize, so that the ordinary addon stays what it is. Exit status 0:
 * every test passed and neither sanitizer had anything to say.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { missingTools } from '../../lib/native/build.ts';
import { packageRoot } from '../../lib/native/package-root.ts';
import { nodeGyp } from '../build-addon.ts';

const COPIED = ['binding.gyp', 'package.json', 'tsconfig.json', 'vitest.config.ts', 'native', 'lib', 'test'];
const TESTS = ['test/native', 'test/lifecycle/native', 'test/access', 'test/memory'];
const FLAGS = '-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all';

/** A fresh copy of the sources; what was compiled before stays. */
function copySources(root: string, tree: string): void {
  mkdirSync(tree, { recursive: true });
  for (const name of COPIED) {
    rmSync(join(tree, name), { recursive: true, force: true });
    cpSync(join(root, name), join(tree, name), { recursive: true, preserveTimestamps: true });
  }
}

/** Where the compiler keeps a sanitizer's library. */
function library(name: string): string {
  const compiler = process.env.CXX ?? 'g++';
  return spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
}

function runTests(tree: string, tests: readonly string[]): number {
  const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');
  const run = spawnSync(
    process.execPath,
    [vitest, 'run', '--root', tree, '--testTimeout=3600000', ...tests],
    {
      cwd: tree,
      stdio: 'inherit',
      env: {
        ...process.env,
        // The sanitizer must be there before Node's own allocator is used.
        LD_PRELOAD: library('libasan.so'),
        // Leaks of the runtime and of the test runner are not ours; SIGBUS is handled by what is tested, and so is memory
        // that there is not.
        ASAN_OPTIONS: 'detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1',
        UBSAN_OPTIONS: 'print_stacktrace=1',
      },
    },
  );
  return run.status ?? 1;
}

function main(): number {
  const missing = missingTools();
  if (process.platform !== 'linux' || missing.length > 0) {
    console.error(`the sanitizers need Linux and ${missing.join(', ') || 'g++'}`);
    return 1;
  }
  const root = packageRoot();
  const tree = join(root, 'build', 'sanitize');
  copySources(root, tree);
  const env = { ...process.env, CXXFLAGS: `${FLAGS} -g -O1 -fno-omit-frame-pointer`, LDFLAGS: FLAGS };
  const built = nodeGyp(tree, env);
  if (built !== 0) return built;
  const tests = process.argv.slice(2);
  return runTests(tree, tests.length > 0 ? tests : TESTS);
}

process.exitCode = main();
