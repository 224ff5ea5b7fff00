/** Builds the addon with node-gyp, for machines that no prebuilt one serves. */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { onPath } from '../programs.ts';
import { buildFolder } from './load.ts';

const COMPILERS = ['g++', 'c++', 'clang++'];

/** The missing tools for compiling the addon, in words; empty if none is missing. */
export function missingTools(env: NodeJS.ProcessEnv = process.env): string[] {
  const compilers = env.CXX === undefined ? COMPILERS : [env.CXX];
  const missing: string[] = [];
  if (!compilers.some((name) => onPath(name, env))) missing.push('a C++ compiler');
  if (onPath('make', env) === undefined) missing.push('make');
  if (onPath('python3', env) === undefined) missing.push('Python 3');
  return missing;
}

/** The node-gyp that the package at `root` finds, or the one inside npm. */
function findNodeGyp(root: string, env: NodeJS.ProcessEnv): string | undefined {
  const npm = onPath('npm', env);
  const places = [
    join(root, 'package.json'),
    ...(npm === undefined ? [] : [realpathSync(npm)]),
    join(dirname(dirname(process.execPath)), 'lib', 'node_modules', 'npm', 'package.json'),
    '/usr/share/nodejs/package.json', // Debian's packages are there
  ];
  for (const place of places) {
    try {
      return createRequire(place).resolve('node-gyp/bin/node-gyp.js');
    } catch {
      // It cannot be loaded from there.
    }
  }
  return undefined;
}

export interface Built {
  /** The exit status of node-gyp; 1 if it could not be run. */
  readonly status: number;
  /** The file; undefined if it could not be built. */
  readonly addon?: string;
  /** The output of the compiler, or the missing tools. */
  readonly output: string;
}

/** Builds the addon of the package at `root` and waits until that is done. */
export function buildAddon(root: string, env: NodeJS.ProcessEnv = process.env): Built {
  const folder = buildFolder(root);
  const script = findNodeGyp(root, env);
  if (script === undefined) {
    return {
      status: 1,
      output: 'node-gyp is not found: npm has it within it, or run `npm install node-gyp`\n',
    };
  }
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node.h')) ? [`--nodedir=${prefix}`] : [];
  const args = [script, 'configure', 'build', '--silent', `--directory=${folder}`, ...headers];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', env });
  const output = `${run.stdout}${run.stderr}`;
  if (run.status !== 0) return { status: run.status ?? 1, output };
  return { status: 0, output, addon: join(folder, 'build', 'Release', 'userdma.node') };
}
