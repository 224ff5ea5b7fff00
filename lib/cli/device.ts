/** userdma reset, regs and selftest. Each opens a function that is bound to vfio-pci for a moment. */
import pc from 'picocolors';
import { type Check, selfTest } from '../doctor/self-test.ts';
import { DmaError } from '../errors.ts';
import type { PciFunction } from '../pci/function.ts';
import { openPci } from '../pci/open.ts';
import { EXIT } from './exit.ts';
import { hex, hexdump, table, toJson } from './output.ts';

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
  const index = number('BAR', bar);
  const at = offset === undefined ? 0 : number('offset', offset);
  await withFunction(address, (fn) => {
    const registers = fn.bar(index);
    if (value !== undefined) {
      registers.write32(at, number('value', value));
      console.log(json ? toJson({ offset: at, value: registers.read32(at) }) : hex(registers.read32(at), 8));
      return;
    }
    const wanted = length === undefined ? (offset === undefined ? SHOWN : 4) : number('length', length);
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

function number(what: string, text: string | undefined): number {
  const value = Number(text);
  if (text?.trim() && Number.isSafeInteger(value) && value >= 0) return value;
  throw new DmaError('EINVAL', `${what} is ${JSON.stringify(text)}`, {
    remedy: 'write a number, e.g. 16 or 0x10',
  });
}
