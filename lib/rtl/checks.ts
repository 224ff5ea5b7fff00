/** The options of RtlModel. All of these throw DmaError EINVAL with the value. */
import { argumentError, checkWhole } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import type { RtlOptions, WaveOptions } from './model.ts';

const { MAX_SAFE_INTEGER } = Number;

export function checkNumbers({
  mhz = 1,
  history = 0,
  rewind = 1,
  seed = 1,
  pressure = 0,
  latency = 0,
  accessLimit = 1,
  pins = {},
}: RtlOptions): void {
  checkWhole(mhz, 'mhz', 1, 10_000);
  checkWhole(history, 'history', 0, MAX_SAFE_INTEGER);
  checkWhole(rewind, 'rewind', 1, MAX_SAFE_INTEGER);
  checkWhole(seed, 'seed', 0, MAX_SAFE_INTEGER);
  checkWhole(latency, 'latency', 0, MAX_SAFE_INTEGER);
  checkWhole(accessLimit, 'accessLimit', 1, MAX_SAFE_INTEGER);
  for (const [name, value] of Object.entries(pins)) {
    checkWhole(value, `the pin ${name}`, 0, MAX_SAFE_INTEGER);
  }
  // It is a percentage. With 100 nothing would ever move.
  checkWhole(pressure, 'pressure', 0, 99);
}

export function checkWindow({ file, last, from, to }: WaveOptions): void {
  if (typeof file !== 'string' || file === '') {
    throw argumentError('the file of a waveform', file, 'pass its path; endWaves ends a waveform');
  }
  if (last !== undefined) checkWhole(last, 'last', 1, MAX_SAFE_INTEGER);
  if (from !== undefined) checkWhole(from, 'from', 0, MAX_SAFE_INTEGER);
  if (to !== undefined) checkWhole(to, 'to', from ?? 0, MAX_SAFE_INTEGER);
  if (last === undefined || (from ?? to) === undefined) return;
  throw new DmaError('EINVAL', 'a waveform has either `last`, or `from` and `to`', {
    remedy: 'leave one of them out',
  });
}
