/** What a virtual machine takes from its host: a place for files that are kept, and the environment of its command. */
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { HarnessError } from './harness-error.ts';
import { setting } from './settings.ts';

/** The folder of kernels and initrds that are kept: USERDMA_VM_CACHE, or ~/.cache/userdma. */
export function cacheFolder(): string {
  return resolve(setting('CACHE') ?? join(homedir(), '.cache/userdma'));
}

/** @throws HarnessError the guest cannot run this host's programs */
export function checkHost(): void {
  if (process.platform === 'linux' && process.arch === 'x64') return;
  throw new HarnessError('the virtual machine needs a Linux host on x86-64, whose programs it runs');
}

/** The guest's environment: made anew, so that it is the same on every host. @param node the program that comes first */
export function guestEnvironment(node = process.execPath): Record<string, string> {
  const passed = Object.entries(process.env).filter(
    ([name]) => name.startsWith('USERDMA_') && !name.startsWith('USERDMA_VM'),
  );
  const path = [dirname(node), process.env.PATH ?? ''].join(delimiter);
  return {
    ...Object.fromEntries(passed.map(([name, value]) => [name, value ?? ''])),
    ...{ PATH: path, HOME: '/tmp', LANG: 'C.UTF-8', npm_config_update_notifier: 'false' },
    ...(process.stdout.isTTY ? { FORCE_COLOR: '1', COLUMNS: String(process.stdout.columns) } : {}),
  };
}
