/** What tests of transfers have in common: kinds of machines, bytes that tell where they are, and expected errors. */
import { randomInt } from 'node:crypto';
import { DmaError, type ErrnoName } from '../../lib/index.ts';
import type { SimulateOptions } from '../../lib/sim/index.ts';
import { assert } from '../harness.ts';

/** Bytes that tell where they are. */
export function pattern(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) * 7 + seed * 113) & 0xff);
}

export const seed = Number(process.env.USERDMA_TEST_SEED ?? randomInt(2 ** 31));

export function fails(code: ErrnoName, pattern = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof DmaError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  };
}

export const machines: readonly { readonly name: string; readonly options: SimulateOptions }[] = [
  { name: 'behind an IOMMU', options: {} },
  { name: 'behind an IOMMU, incoherent', options: { coherent: false } },
  { name: 'without an IOMMU', options: { iommu: false } },
  { name: 'without an IOMMU, incoherent', options: { iommu: false, coherent: false } },
];
