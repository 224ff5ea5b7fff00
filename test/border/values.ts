/** What a caller can pass by mistake: one of every kind that a check may have forgotten. Made fresh for each call. */
import { EduModel } from '../../lib/sim/index.ts';

export function hostileValues(): readonly (readonly [name: string, value: unknown])[] {
  const detached = new Uint8Array(64);
  structuredClone(detached, { transfer: [detached.buffer] });
  const resizable = new (ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer)(64, {
    maxByteLength: 128,
  });
  return [
    ['undefined', undefined],
    ['null', null],
    ['false', false],
    ['true', true],
    ['0', 0],
    ['-0', -0],
    ['1', 1],
    ['-1', -1],
    ['0.5', 0.5],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['2^31', 2 ** 31],
    ['2^32 + 5', 2 ** 32 + 5],
    ['2^53', 2 ** 53],
    ['1e300', 1e300],
    ['0n', 0n],
    ['5n', 5n],
    ['-1n', -1n],
    ['2n^70n', 2n ** 70n],
    ['empty string', ''],
    ['number as a string', '4096'],
    ['any string', 'no such thing'],
    ['string with NUL', 'a\0b'],
    ['symbol', Symbol('hostile')],
    ['object', {}],
    ['object without a prototype', Object.create(null)],
    ['array', []],
    ['array of anything', [undefined, Symbol('in an array'), Object.create(null)]],
    ['sparse array', new Array(3)],
    ['function', () => undefined],
    ['class', EduModel],
    ['model', new EduModel()],
    ['date', new Date(0)],
    ['boxed number', Object(5)],
    ['bytes', new Uint8Array(64)],
    ['view of floats', new Float64Array(8)],
    ['buffer', new ArrayBuffer(64)],
    ['empty bytes', new Uint8Array(0)],
    ['detached bytes', detached],
    ['resizable bytes', new Uint8Array(resizable)],
    ['shared bytes', new Uint8Array(new SharedArrayBuffer(64))],
    ['promise', Promise.resolve(5)],
    ['abort signal', new AbortController().signal],
    ['bytes in name only', Object.create(Uint8Array.prototype)],
  ];
}
