/** userdma reset, regs and selftest. Each opens a function that is bound to vfio-pci for a moment. */
import pc from 'picocolors';
import { type Check, selfTest } from '../doctor/self-test.ts';
import type { PciFunction } from '../pci/function.ts';
import { openPci } from '../pci/open.ts';
import { EXIT } from './exit.ts';
import { hexdump, table, toJson } from './output.ts';
import { wholeNumber } from './whole-number.ts';

async function withFunction<T>(address: string, body: (fn: PciFunction) => T | Promise<T>): Promise<T> {
  const fn = await openPci(address);
  try {
    return await body(fn);
  } finally {
    fn.close();
  }
}

export async function reset(address: string, { json, hot }: { json: boolean; hot: boolean }): Promise<void> {
  const report = await withFunction(address, (fn) => (hot ? fn.hotReset() : fn.reset()));
  if (json) {
    console.log(toJson(report));
    return;
  }
  console.log(`${report.kind} reset of ${report.functions.join(', ')}`);
}

/** The number of bytes to show by default. */
const SHOWN = 256;

export async function regs(
  address: string,
  [bar, offset, value]: readonly (string | undefined)[],
  { json, length }: { json: boolean; length?: string },
): Promise<void> {
  const index = wholeNumber('BAR', bar);
  const at = offset === undefined ? 0 : wholeNumber('offset', offset);
  const written = value === undefined ? undefined : wholeNumber('value', value);
  const wanted = length === undefined ? (offset === undefined ? SHOWN : 4) : wholeNumber('length', length);
  await withFunction(address, (fn) => {
    const registers = fn.bar(index);
    if (written !== undefined) {
      registers.write32(at, written);
      // It is not read afterwards: some registers lose something by being read.
      if (json) console.log(toJson({ offset: at, written }));
      return;
    }
    const count = Math.floor(Math.min(wanted, registers.size - at) / 4);
    const words = Array.from({ length: Math.max(count, 1) }, (_, i) => registers.read32(at + 4 * i));
    console.log(json ? toJson({ offset: at, words }) : hexdump(at, words));
  });
}

export async function selftest(address: string, { json }: { json: boolean }): Promise<void> {
  const checks = await withFunction(address, selfTest);
  if (checks.some(({ ok }) => ok === false)) process.exitCode = EXIT.failed;
  console.log(json ? toJson(checks) : table(['', 'check', 'result'], checks.map(row)));
}

function row({ name, ok, result }: Check): string[] {
  return [ok === undefined ? pc.dim('-') : ok ? pc.green('ok') : pc.red('failed'), name, result];
}
