/** The bill of materials names every package that an installation brings, and no tool of this repository. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../lib/native/package-root.ts';
import { sbom } from './sbom.ts';

interface Bill {
  readonly components: readonly { readonly name: string; readonly version: string }[];
}

test('the bill of materials has every dependency and no tool', () => {
  const { dependencies, devDependencies } = JSON.parse(
    readFileSync(join(packageRoot(), 'package.json'), 'utf8'),
  ) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
  const { components } = JSON.parse(sbom(packageRoot())) as Bill;
  const listed = Object.fromEntries(components.map(({ name, version }) => [name, version]));
  expect(listed).toMatchObject(dependencies);
  expect(Object.keys(devDependencies).filter((name) => name in listed)).toEqual([]);
}, 60_000);
