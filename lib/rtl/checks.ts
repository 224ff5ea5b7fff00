/** Numbers that a caller of RtlModel passes. All of these throw DmaError EINVAL with the value. */
import { DmaError } from '../errors.ts';
import type { RtlOptions, WaveOptions } from './model.ts';

export function checkCount(name: string, count: number, least: number): number {
  if (Number.isSafeInteger(count) && count >= least) return count;
  throw new DmaError('EINVAL', `${name} is ${String(count)}`, {
    remedy: `pass a whole number from ${least} on`,
  });
}

export function checkTraffic({
  seed = 1,
  pressure = 0,
  latency = 0,
  accessLimit = 1,
  pins = {},
}: RtlOptions): void {
  checkCount('seed', seed, 0);
  checkCount('latency', latency, 0);
  checkCount('accessLimit', accessLimit, 1);
  for (const [name, value] of Object.entries(pins)) checkCount(`the pin ${name}`, value, 0);
  // With 100 nothing would ever move.
  if (Number.isInteger(pressure) && pressure >= 0 && pressure < 100) return;
  throw new DmaError('EINVAL', `pressure is ${String(pressure)}`, {
    remedy: 'pass a percentage: a whole number from 0 to 99',
  });
}

export function checkWindow({ file, last, from, to }: WaveOptions): void {
  if (typeof file !== 'string' || file === '') {
    throw new DmaError('EINVAL', `the file of a waveform is ${JSON.stringify(file)}`, {
      remedy: 'pass its path; endWaves ends a waveform',
    });
  }
  if (last !== undefined) checkCount('last', last, 1);
  if (from !== undefined) checkCount('from', from, 0);
  if (to !== undefined) checkCount('to', to, from ?? 0);
  if (last === undefined || (from ?? to) === undefined) return;
  throw new DmaError('EINVAL', 'a waveform has either `last`, or `from` and `to`', {
    remedy: 'leave one of them out',
  });
}

export function checkMhz(mhz: number): number {
  if (Number.isInteger(mhz) && mhz > 0 && mhz <= 10_000) return mhz;
  throw new DmaError('EINVAL', `mhz is ${String(mhz)}`, { remedy: 'pass a whole number from 1 to 10,000' });
}
