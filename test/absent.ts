/** What the virtual machine cannot have, or its QEMU refuses: tests of it are skipped for that reason. */
import { assert, describe, it, skip } from './harness.ts';

/**
 * Why there is no such thing; undefined if nobody said so.
 * @param what the variable that would hold the address of a device, or another name of the machine's field `absent`
 */
export function whyAbsent(what: string): string | undefined {
  return (JSON.parse(process.env.USERDMA_TEST_ABSENT ?? '{}') as Record<string, string>)[what];
}

/**
 * The PCI address in an environment variable of the guest. Ends the test that calls it where the device is absent.
 * @param variable for example USERDMA_TEST_EDU
 */
export function deviceOrSkip(variable: string): string {
  skipWithout(variable);
  const address = process.env[variable];
  assert.ok(address, `${variable} is not set`);
  return address;
}

/** Ends the test that calls it where the thing is absent. */
export function skipWithout(what: string): void {
  const reason = whyAbsent(what);
  if (reason !== undefined) skip(reason);
}

/** As `describe`, for tests of what may be absent. */
export function describeWith(what: string, name: string, body: () => void): void {
  const reason = whyAbsent(what);
  describe(name, reason === undefined ? body : () => it('can run', () => skip(reason)));
}
