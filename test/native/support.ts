/** What the tests of the addon share: finding it, skipping without it, and running code in a process of its own. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as node from 'node:test';
import type { Addon } from '../../lib/native/addon.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { packageRoot } from '../../lib/native/package-root.ts';
import { whyNoAddon as whyNone } from '../../lib/native/processor.ts';
import { describe, it } from '../harness.ts';
import { mmioOf } from './mmio-calls.ts';

const folder = join(packageRoot(), 'build', 'Release');

/** Files for the scripts of child processes and workers, which have no TypeScript. USERDMA_ADDON: the one to test. */
export const addonPath = resolve(process.env.USERDMA_ADDON || join(folder, 'userdma.node'));
export const probePath = join(folder, 'access_probe.node');

const vitest = process.env.VITEST === undefined ? undefined : await import('vitest');

/** Why there is no addon to test; undefined if there is one. */
export const whyNoAddon = whyNone() ?? (existsSync(addonPath) ? undefined : 'the native addon is not built');

/** As `describe`, with the addon; skipped with the reason when it is not built, or when `unless` is a reason. */
export function describeNative(name: string, body: (addon: Addon) => void, unless?: string): void {
  const reason = unless ?? whyNoAddon;
  const why = () => it(`skipped: ${reason}`, () => {});
  if (reason === undefined) describe(name, () => body(loadAddon()));
  else if (vitest === undefined) node.describe(name, { skip: reason }, why);
  else vitest.describe.skip(name, why);
}

export interface Outcome {
  /** Exit code; null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Defines `mmio` in a script that has `addon`: register accesses with arguments, prepared when first used. */
export const MMIO_SCRIPT = `Object.defineProperty(globalThis, 'mmio', {
  configurable: true,
  get() {
    const value = (${mmioOf})(addon);
    Object.defineProperty(globalThis, 'mmio', { value });
    return value;
  },
});`;

/**
 * Runs CommonJS `script` in a new Node.js process, where `addon` is the addon, loaded when first used, and `mmio` its
 * register accesses.
 */
export function runScript(
  script: string,
  flags: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Outcome {
  const getter = `{ get: () => require(${JSON.stringify(addonPath)}) }`;
  const code = `Object.defineProperty(globalThis, 'addon', ${getter});\n${MMIO_SCRIPT}\n${script}`;
  const child = spawnSync(process.execPath, [...flags, '-e', code], {
    encoding: 'utf8',
    timeout: 3_600_000,
    env: { ...process.env, ...env },
  });
  return { status: child.status, signal: child.signal, stdout: child.stdout, stderr: child.stderr };
}
