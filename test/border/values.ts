/** What a caller can pass by mistake: one of every kind that a check may have forgotten, made when it is needed. */
import { EduModel } from '../../lib/sim/index.ts';

export const HOSTILE: ReadonlyMap<string, () => unknown> = new Map<string, () => unknown>([
  ['undefined', () => undefined],
  ['null', () => null],
  ['false', () => false],
  ['true', () => true],
  ['0', () => 0],
  ['-0', () => -0],
  ['1', () => 1],
  ['-1', () => -1],
  ['0.5', () => 0.5],
  ['NaN', () => Number.NaN],
  ['Infinity', () => Number.POSITIVE_INFINITY],
  ['-Infinity', () => Number.NEGATIVE_INFINITY],
  ['2^31', () => 2 ** 31],
  ['2^32 + 5', () => 2 ** 32 + 5],
  ['2^53', () => 2 ** 53],
  ['1e300', () => 1e300],
  ['0n', () => 0n],
  ['5n', () => 5n],
  ['-1n', () => -1n],
  ['2n^70n', () => 2n ** 70n],
  ['empty string', () => ''],
  ['number as a string', () => '4096'],
  ['any string', () => 'no such thing'],
  ['string with NUL', () => 'a\0b'],
  ['symbol', () => Symbol('hostile')],
  ['object', () => ({})],
  ['object without a prototype', () => Object.create(null)],
  ['array', () => []],
  ['array of anything', () => [undefined, Symbol('in an array'), Object.create(null)]],
  ['sparse array', () => new Array(3)],
  ['function', () => () => undefined],
  ['class', () => EduModel],
  ['model', () => new EduModel()],
  ['date', () => new Date(0)],
  ['boxed number', () => Object(5)],
  ['bytes', () => new Uint8Array(64)],
  ['view of floats', () => new Float64Array(8)],
  ['buffer', () => new ArrayBuffer(64)],
  ['empty bytes', () => new Uint8Array(0)],
  ['detached bytes', detachedBytes],
  ['resizable bytes', resizableBytes],
  ['shared bytes', () => new Uint8Array(new SharedArrayBuffer(64))],
  ['promise', () => Promise.resolve(5)],
  ['abort signal', () => new AbortController().signal],
  ['bytes in name only', () => Object.create(Uint8Array.prototype)],
]);

function detachedBytes(): Uint8Array {
  const bytes = new Uint8Array(64);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  return bytes;
}

function resizableBytes(): Uint8Array {
  const Resizable = ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer;
  return new Uint8Array(new Resizable(64, { maxByteLength: 128 }));
}
