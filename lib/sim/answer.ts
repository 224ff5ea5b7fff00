/**
 * Checks the answer of a model to a register read. A wrong answer is a mistake of the model, so the error names the
 * model.
 */
import { describe } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { DeviceModel, Width } from './model.ts';
import { modelName } from './model-name.ts';

/** @returns the low bits of the answer, unsigned @throws DmaError EINVAL the answer is no number of 32 bits */
export function answerOf(model: DeviceModel, bar: number, offset: number, width: Width): number {
  const value: unknown = model.read(bar, offset, width);
  // Bitwise operators produce signed numbers. They count as the unsigned numbers with the same bits.
  if (typeof value === 'number' && (value >>> 0 === value || (value | 0) === value)) {
    return width === 4 ? value >>> 0 : value & (2 ** (8 * width) - 1);
  }
  throw wrongAnswer(model, bar, offset, 8 * width, value, 'a whole number from 0 to 2^32 - 1');
}

/** One 64-bit read. A model without 64-bit reads gets two of 32 bits, low word first. */
export function answer64Of(model: DeviceModel, bar: number, offset: number): bigint {
  if (model.read64 === undefined) {
    const low = answerOf(model, bar, offset, 4);
    return (BigInt(answerOf(model, bar, offset + 4, 4)) << 32n) | BigInt(low);
  }
  const value: unknown = model.read64(bar, offset);
  if (
    typeof value === 'bigint' &&
    (BigInt.asUintN(64, value) === value || BigInt.asIntN(64, value) === value)
  ) {
    return BigInt.asUintN(64, value);
  }
  throw wrongAnswer(model, bar, offset, 64, value, 'a bigint from 0 to 2^64 - 1');
}

function wrongAnswer(
  model: DeviceModel,
  bar: number,
  offset: number,
  bits: number,
  value: unknown,
  wanted: string,
): DmaError {
  const where = `${bits === 8 ? 'an' : 'a'} ${bits}-bit read at 0x${offset.toString(16)} of BAR ${bar}`;
  return new DmaError('EINVAL', `${modelName(model)} answered ${where} with ${describe(value)}`, {
    remedy: `the model has to return ${wanted}`,
  });
}
