/** npm checks a downloaded package only against an integrity that the lock file has. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../lib/native/package-root.ts';

interface LockFile {
  readonly packages: Readonly<Record<string, { integrity?: string; resolved?: string; link?: boolean }>>;
}

test('every package of the lock file has an integrity, and none names a registry', () => {
  const lock = JSON.parse(readFileSync(join(packageRoot(), 'package-lock.json'), 'utf8')) as LockFile;
  const packages = Object.entries(lock.packages).filter(([path, entry]) => path !== '' && !entry.link);
  expect(packages.length).toBeGreaterThan(100);
  expect(packages.filter(([, entry]) => !entry.integrity).map(([path]) => path)).toEqual([]);
  expect(packages.filter(([, entry]) => entry.resolved !== undefined).map(([path]) => path)).toEqual([]);
});
