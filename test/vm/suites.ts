/**
 * Which compiled test files run on which machine: those in its folder of `test/vm`, and files that run in both worlds
 * where the machine says so.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Machine, machines } from './machine.ts';

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
    ...testFiles(join(tests, 'vm', machine.folder ?? machine.name)),
    ...machine.shared.flatMap((name) => testFiles(join(tests, name))),
  ];
}

/**
 * @param tests folder of the compiled tests
 * @param filters parts of file paths, names of machines, or both as MACHINE/PART; none means all
 * @param only the machines that are meant, where some are
 */
export function findSuites(tests: string, filters: readonly string[], only?: readonly Machine[]): Suite[] {
  return (only ?? machines).flatMap((machine) => {
    const wanted = (file: string) => matches(filters, machine, file.slice(tests.length), only !== undefined);
    const files = filesOf(machine, tests).filter(wanted);
    return deal(files).map((part) => ({ machine, files: part }));
  });
}

/** @param named whether the run is of this machine, or of all */
function matches(filters: readonly string[], machine: Machine, file: string, named: boolean): boolean {
  const { name, folder, always = true } = machine;
  // A folder that no machine is named after stands for all machines that run it.
  const isFolder = (filter: string) => filter === folder && !machines.some((other) => other.name === filter);
  const ofMachine = (filter: string) =>
    filter === name ||
    isFolder(filter) ||
    (filter.startsWith(`${name}/`) && file.includes(filter.slice(name.length + 1)));
  if (filters.some(ofMachine)) return true;
  if (!always && !named) return false;
  return filters.length === 0 || filters.some((filter) => file.includes(filter));
}

/** More files than this are worth a boot of their own on the other processor. */
const FILES_PER_BOOT = 7;

/** In turn, so that what is slow and alike does not stay together. */
function deal(files: readonly string[]): string[][] {
  const parts = Math.ceil(files.length / FILES_PER_BOOT);
  return Array.from({ length: parts }, (_, part) => files.filter((_, i) => i % parts === part));
}
