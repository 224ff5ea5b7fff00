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
 * @param filters parts of file paths, names of machines, or both as MACHINE/PART; none means all
 * @param only the machines that are meant, where some are
 */
export function findSuites(
  tests: string,
  filters: readonly string[],
  only: readonly Machine[] = machines,
): Suite[] {
  const wanted = (machine: Machine, file: string) =>
    filters.length === 0 || filters.some((filter) => matches(filter, machine, file.slice(tests.length)));
  return only.flatMap((machine) => {
    const files = filesOf(machine, tests).filter((file) => wanted(machine, file));
    return deal(files).map((part) => ({ machine, files: part }));
  });
}

function matches(filter: string, { name }: Machine, file: string): boolean {
  if (filter === name || file.includes(filter)) return true;
  return filter.startsWith(`${name}/`) && file.includes(filter.slice(name.length + 1));
}

/** More files than this are worth a boot of their own on the other processor. */
const FILES_PER_BOOT = 7;

/** In turn, so that what is slow and alike does not stay together. */
function deal(files: readonly string[]): string[][] {
  const parts = Math.ceil(files.length / FILES_PER_BOOT);
  return Array.from({ length: parts }, (_, part) => files.filter((_, i) => i % parts === part));
}
