/**
 * What a program that imports the package makes Node.js load. The package imports nothing that it may never need: each
 * builtin module below costs milliseconds of every start.
 */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { packageRoot } from '../../lib/native/package-root.ts';

const HEAVY = ['child_process', 'crypto', 'net', 'readline', 'stream', 'worker_threads', 'zlib'];

/** Those of HEAVY that a process has loaded after it ran `program`, a module. */
function loadedBy(program: string): string[] {
  // process.stdout is a stream, and would load some of them.
  const source = `${program}; import { writeSync } from 'node:fs'; writeSync(1, JSON.stringify(process.moduleLoadList));`;
  const list = execFileSync(process.execPath, ['--input-type=module', '-e', source], {
    cwd: packageRoot(),
    encoding: 'utf8',
  });
  const loaded = JSON.parse(list) as string[];
  return HEAVY.filter((name) => loaded.includes(`NativeModule ${name}`));
}

it.each(["import 'userdma'", "import 'userdma/sim'"])(
  '%s loads no builtin module that an empty module does not',
  (program) => {
    const empty = loadedBy('');
    expect(loadedBy(program)).toEqual(empty);
    expect(empty).not.toEqual(HEAVY);
  },
);
