/** Loads the addon when hardware is used for the first time, so that a simulation needs no compiler on any OS. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DmaError } from '../errors.ts';
import { useNativeBarrier } from '../rings/barriers.ts';
import type { Addon } from './addon.ts';
import { findPackage, requireFrom } from './package-root.ts';
import { whyNoAddon } from './processor.ts';
import { wantedLibc } from './wanted-libc.ts';

let loaded: Addon | undefined;

/**
 * The addon, the same object every time in one environment. If USERDMA_ADDON is set, it is the file of that name.
 * Otherwise it is the prebuilt one of the package or, if that does not load, the one that was built on this machine.
 * @throws DmaError ENOSYS it cannot be loaded; the message lists the causes and the fix, and `cause` is the loader's
 *   own error
 */
export function loadAddon(): Addon {
  if (loaded === undefined) {
    const addon = load();
    useNativeBarrier(() => void addon.dmaBarrier());
    loaded = addon;
  }
  return loaded;
}

/** The addon that comes with the package for this kind of processor. It works with glibc and musl. */
export function prebuiltAddon(root: string, arch: string = process.arch): string {
  return join(root, 'prebuilds', `linux-${arch}`, 'userdma.node');
}

/**
 * The folder of the package whose addon node-gyp builds. In a checkout there is more to build than in an installed
 * package.
 */
export function buildFolder(root: string): string {
  return existsSync(join(root, 'binding.gyp')) ? root : join(root, 'native');
}

function load(): Addon {
  const impossible = whyNoAddon();
  if (impossible !== undefined) {
    throw missing(process.cwd(), [impossible], {
      remedy: 'open a simulated device instead, which needs no addon',
    });
  }
  const chosen = process.env.USERDMA_ADDON;
  if (chosen) return loadChosen(resolve(chosen));
  const root = findPackage();
  if (root === undefined) {
    throw missing('a bundle', ['the package userdma is not installed where the bundle runs'], {
      remedy:
        'leave userdma out of the bundle and install it there, or name the file of its addon in USERDMA_ADDON',
    });
  }
  const require = requireFrom(join(root, 'package.json'));
  const reasons: string[] = [];
  const prebuilt = prebuiltAddon(root);
  if (existsSync(prebuilt)) {
    try {
      return require(prebuilt) as Addon;
    } catch (cause) {
      reasons.push(`the prebuilt one does not load${complaint(cause)}`);
    }
  }
  try {
    const bindings = require('bindings') as (options: object) => Addon;
    return bindings({ bindings: 'userdma', module_root: buildFolder(root) });
  } catch (cause) {
    throw missing(root, [...reasons, ...causes(cause)], { remedy: buildRemedy(root), cause });
  }
}

function loadChosen(path: string): Addon {
  try {
    return requireFrom(path)(path) as Addon;
  } catch (cause) {
    throw missing(path, [`the file that USERDMA_ADDON names does not load${complaint(cause)}`], {
      remedy: 'name another file, or unset USERDMA_ADDON',
      cause,
    });
  }
}

function causes(cause: unknown): string[] {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/could not locate the bindings file/i.test(text)) return ['it is not built'];
  if (/cannot find module 'bindings'/i.test(text)) return ["the package 'bindings' is not installed"];
  return [
    `it is there but does not load${complaint(cause)}`,
    'it may have been built for another processor, C library or Node.js',
  ];
}

/** The words of the loader and, where they show it, the C library that the file was built for. */
function complaint(cause: unknown): string {
  const said = firstLine(cause);
  const libc = wantedLibc(said);
  return libc === undefined ? `: ${said}` : `, because it was built for ${libc}: ${said}`;
}

function firstLine(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split('\n', 1)[0]!;
}

function buildRemedy(root: string): string {
  const command = buildFolder(root) === root ? '`npm run build` there' : '`npx userdma build`';
  return `run ${command} (it takes a C++17 compiler, make and Python 3); simulation needs no addon`;
}

function missing(place: string, reasons: string[], options: { remedy: string; cause?: unknown }): DmaError {
  const where = `${process.platform}-${process.arch}, Node.js ${process.versions.node}, in ${place}`;
  return new DmaError('ENOSYS', `the native addon cannot be used (${where}): ${reasons.join('; ')}`, {
    ...options,
    syscall: 'dlopen',
  });
}
