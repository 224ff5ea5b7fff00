/**
 * Which compiled test files run on which machine: those directly in `test/vm` on the default machine, those in
 * `test/vm/<name>` on the machine of that name, and files that run in both worlds where the machine says so.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defaultMachine, type Machine, machines } from './machine.ts';

export interface Suite {
  readonly machine: Machine;
  readonly files: readonly string[];
}

function testFiles(folder: string): string[] {
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  return names.filter((name) => name.endsWith('.test.js')).map((name) => join(folder, name));
}

function filesOf(machine: Machine, tests: string): string[] {
  return [
    ...(machine === defaultMachine ? testFiles(join(tests, 'vm')) : []),
    ...testFiles(join(tests, 'vm', machine.name)),
    ...machine.shared.flatMap((name) => testFiles(join(tests, name))),
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
