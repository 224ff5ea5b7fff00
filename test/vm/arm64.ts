/**
 * What a guest for arm64 has instead of the host's programs: a root of Debian's packages, a Node.js from npm, and the
 * addon as it is published, with the functions for tests. All of it is fetched or built once.
 */
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetched, reason, unpack } from '../../lib/vm/apt.ts';
import { HarnessError } from '../../lib/vm/harness-error.ts';
import { build, targets } from '../package/prebuild.ts';

const suite = 'bookworm';
/** A shell, the programs that tests start, and the libraries of Node.js. */
const packages = [
  ...['busybox-static', 'dash', 'coreutils', 'grep', 'mount', 'util-linux', 'kmod'],
  ...['e2fsprogs', 'pciutils', 'procps', 'udev', 'libstdc++6'],
];

/** The folder of the root. */
export function debianRoot(cache: string): string {
  try {
    return fetched(
      cache,
      `debian-root-${suite}-arm64`,
      suite,
      (apt, root) => {
        console.error(`vm: fetching a root of Debian's ${suite} for arm64 (about 25 MB, once) ...`);
        unpack(apt.downloadAll(packages), root);
        // As Debian's package base-passwd does when it is installed.
        writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
        writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
      },
      'arm64',
    );
  } catch (error) {
    throw new HarnessError(`no root for arm64 from Debian's ${suite}: ${reason(error)}`);
  }
}

/** The file of the addon, built anew after a change. It takes Debian's package g++-aarch64-linux-gnu. */
export function crossAddon(checkout: string): string {
  const out = join(checkout, 'build/prebuilds/linux-arm64/userdma.node');
  const native = join(checkout, 'native');
  const changed = readdirSync(native).map((name) => statSync(join(native, name)).mtimeMs);
  if (existsSync(out) && statSync(out).mtimeMs > Math.max(...changed)) return out;
  console.error('vm: building the addon for arm64 ...');
  try {
    build(checkout, targets.find(({ arch }) => arch === 'arm64')!, out, true);
  } catch (error) {
    throw new HarnessError(`no addon for arm64, which takes g++-aarch64-linux-gnu: ${reason(error)}`);
  }
  return out;
}
