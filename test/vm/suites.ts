/**
 * Which compiled test files run on which machine: files that run in both worlds and those directly in `test/vm`
 * on the default machine, those in `test/vm/<name>` on the machine of that name.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defaultMachine, type Machine, machines } from './machine.ts';

export interface Suite {
  readonly machine: Machine;
  readonly files: readonly string[];
}

/** Folders under `test` whose files pick their device by environment, hence run on the default machine too. */
const sharedFolders = ['conformance', 'edu'];

function testFiles(folder: string): string[] {
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  return names.filter((name) => name.endsWith('.test.js')).map((name) => join(folder, name));
}

function filesOf(machine: Machine, tests: string): string[] {
  const own = testFiles(join(tests, 'vm', machine.name));
  if (machine !== defaultMachine) return own;
  return [
    ...testFiles(join(tests, 'vm')),
    ...own,
    ...sharedFolders.flatMap((name) => testFiles(join(tests, name))),
  ];
}

/**
 * @param tests folder of the compiled tests
 * @param filters parts of file paths or names of machines; none means all
 */
export function findSuites(tests: string, filters: readonly string[]): Suite[] {
  const wanted = (machine: Machine, file: string) =>
    filters.length === 0 ||
    filters.some((filter) => filter === machine.name || file.slice(tests.length).includes(filter));
  return machines
    .map((machine) => ({ machine, files: filesOf(machine, tests).filter((file) => wanted(machine, file)) }))
    .filter(({ files }) => files.length > 0);
}
