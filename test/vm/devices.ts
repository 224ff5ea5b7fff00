/** The devices of the virtual machine, as its environment names them, and short ways to look at them. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { DmaError, type ErrnoName } from '../../lib/errors.ts';
import { deviceOrSkip } from '../absent.ts';
import { assert } from '../harness.ts';

/** PCI address in an environment variable, e.g. `USERDMA_TEST_EDU`. Ends the test where the device is absent. */
export const device = deviceOrSkip;

/** Number of a function's IOMMU group. */
export function groupOf(address: string): number {
  return Number(basename(readlinkSync(`/sys/bus/pci/devices/${address}/iommu_group`)));
}

/** Open descriptors of this process that lead to VFIO, memfds or eventfds: target and flags. */
export function ownDescriptors(): { target: string; flags: number }[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
      return /vfio|userdma|eventfd/.test(target) ? [{ target, flags: Number.parseInt(flags ?? '0', 8) }] : [];
    } catch {
      return []; // the descriptor of the listing itself
    }
  });
}

/** Asserts that `action` throws a DmaError with this code whose message holds all of `words`. */
export function refuses(action: () => unknown, code: ErrnoName, ...words: (string | RegExp)[]): DmaError {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof DmaError, `not a DmaError: ${String(error)}`);
    assert.equal(error.code, code, error.message);
    for (const word of words) assert.match(error.message, word instanceof RegExp ? word : literal(word));
    return error;
  }
  assert.fail(`${code} expected, nothing was thrown`);
}

/** As `refuses`, of a promise. */
export async function rejects(
  promise: Promise<unknown>,
  code: ErrnoName,
  ...words: (string | RegExp)[]
): Promise<DmaError> {
  let outcome = (): void => {};
  await promise.catch((error: unknown) => {
    outcome = () => {
      throw error;
    };
  });
  return refuses(outcome, code, ...words);
}

function literal(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
}
