/** The tarball as a release has it, from a copy of this checkout: what was built here before has no part in it. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Packs the checkout at `root` in `work`, an empty folder. Returns the path of the tarball. */
export function pack(root: string, work: string): string {
  const copy = join(work, 'checkout');
  // The checkout may be another user's, as in a container.
  const git = ['-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const listed = execFileSync('git', git, { cwd: root });
  for (const name of listed
    .toString()
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(root, path)))) {
    mkdirSync(dirname(join(copy, name)), { recursive: true });
    cpSync(join(root, name), join(copy, name));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  // Of a build of long ago: a release has none of them.
  for (const name of ['dist/bundle/stale.js', 'dist/lib/stale.d.ts', 'prebuilds/linux-x64/stale.node']) {
    mkdirSync(dirname(join(copy, name)), { recursive: true });
    writeFileSync(join(copy, name), '');
  }
  execFileSync('npm', ['pack', '--silent', '--pack-destination', work], {
    cwd: copy,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return join(work, readdirSync(work).find((name) => name.endsWith('.tgz'))!);
}

/** Paths in a tarball, without the folder `package`. */
export function contents(tarball: string): string[] {
  const names = execFileSync('tar', ['tzf', tarball], { encoding: 'utf8' }).trim().split('\n');
  return names.map((name) => name.replace(/^package\//, '')).sort();
}

/** In kB: of the tarball, and of one without these files. */
export function sizes(
  tarball: string,
  without: readonly string[],
): { packed: string; withoutAddons: string } {
  const kilobytes = (bytes: number) => `${Math.round(bytes / 1000)} kB`;
  const excluded = without.map((name) => `--exclude=package/${name}`);
  const work = mkdtempSync(join(tmpdir(), 'userdma-size-'));
  try {
    execFileSync('tar', ['xzf', tarball, '-C', work, ...excluded]);
    const rest = execFileSync('tar', ['cz', '-C', work, 'package'], { maxBuffer: 2 ** 28 });
    return { packed: kilobytes(statSync(tarball).size), withoutAddons: kilobytes(rest.length) };
  } finally {
    rmSync(work, { recursive: true });
  }
}
