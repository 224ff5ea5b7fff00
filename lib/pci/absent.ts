/** The error for an address at which there is no function. */
import { DmaError } from '../errors.ts';
import type { FunctionFacts } from './facts.ts';

/** @param more what else helps, after a semicolon */
export function noFunction({ address, similar, sysfs }: FunctionFacts, more = ''): DmaError {
  if (!sysfs) {
    return new DmaError('ENODEV', `${address} is not found: /sys shows no PCI bus`, {
      remedy: (process.platform === 'linux' ? 'run it where /sys is mounted' : 'run it on Linux') + more,
    });
  }
  return new DmaError('ENODEV', `there is no PCI function at ${address}`, {
    remedy: whichElse(similar) + more,
  });
}

/** What to do instead. @param similar addresses of functions that are there */
export function whichElse(similar: readonly string[]): string {
  const meant = similar.slice(0, 8).join(', ');
  return meant === '' ? 'npx userdma list shows those of this machine' : `did you mean ${meant}?`;
}
