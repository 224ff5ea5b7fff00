/** Loads the addon the first time hardware is asked for, so that simulation needs no compiler on any OS. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DmaError } from '../errors.ts';
import { useNativeBarrier } from '../rings/barriers.ts';
import type { Addon } from './addon.ts';
import { whyNoAddon } from './processor.ts';

let loaded: Addon | undefined;

/**
 * The addon, the same object every time in one environment.
 * @throws DmaError ENOSYS when it cannot be loaded; the message lists the causes and the fix, `cause` is the
 *   loader's own error
 */
export function loadAddon(): Addon {
  if (loaded === undefined) {
    const addon = load();
    useNativeBarrier(() => void addon.dmaBarrier());
    loaded = addon;
  }
  return loaded;
}

function load(): Addon {
  const root = packageRoot();
  const reason = whyNoAddon();
  if (reason !== undefined) throw missing(root, [reason]);
  try {
    const bindings = createRequire(import.meta.url)('bindings') as (options: object) => Addon;
    return bindings({ bindings: 'userdma', module_root: root });
  } catch (cause) {
    throw missing(root, causes(cause), cause);
  }
}

/** The folder of this package's package.json, from the sources as well as from dist. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) break;
    folder = parent;
  }
  return folder;
}

function causes(cause: unknown): string[] {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/could not locate the bindings file/i.test(text)) return ['it is not built'];
  if (/cannot find module 'bindings'/i.test(text)) return ["the package 'bindings' is not installed"];
  return [
    `it is there but does not load: ${text.split('\n', 1)[0]}`,
    'it may have been built for another processor, C library or Node.js',
  ];
}

function missing(root: string, reasons: string[], cause?: unknown): DmaError {
  const where = `${process.platform}-${process.arch}, Node.js ${process.versions.node}, in ${root}`;
  return new DmaError('ENOSYS', `the native addon cannot be used (${where}): ${reasons.join('; ')}`, {
    remedy:
      whyNoAddon() === undefined
        ? 'run `npm run build` there (it takes a C++17 compiler, make and Python 3); simulation needs no addon'
        : 'open a simulated device instead, which needs no addon',
    syscall: 'dlopen',
    cause,
  });
}
