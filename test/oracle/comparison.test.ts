/**
 * The comparison itself: two libraries agree, and whatever one of them answers wrongly is found. The kernel is compared
 * in test/vm/oracle.
 */
import { assert, describe, it } from '../harness.ts';
import { Comparison, type Side } from './comparison.ts';
import { Library } from './library.ts';
import type { Operation, Request, Response } from './protocol.ts';
import { Sequence } from './sequence.ts';
import { type Setting, settingsOf } from './settings.ts';

const MEMORY = [{ start: 0x10_0000, end: 0x3fff_ffff }];
/** Both sides of a comparison bounce everything, so that even addresses have the same bits. */
const [bounced] = settingsOf('oracle-swiotlb') as [Setting];
const inPlace = settingsOf('oracle-translated').at(-1)!;
const NOTHING: Response = { error: -2, values: [0n, 0n, 0n, 0n], segments: [] };

/** The kernel makes no smaller blocks. */
function asKernel(request: Request): Request {
  return request.op === 'poolCreate' ? { ...request, size: Math.max(16, request.size!) } : request;
}

/** A library in the place of the kernel: it answers where it has nothing, too. */
function kernelOf(library: Library, spoil: (request: Request, response: Response) => Response): Side {
  const pools = new Set<number>();
  const isThere = ({ op, slot = 0, buffer = 0 }: Request): boolean => {
    if (op === 'poolAlloc' || op === 'poolDestroy') return pools.has(slot);
    if (op === 'poolFree') return library.holdsBlock(buffer);
    const needs = /^(unmap|sync|device|free|reach|iova(?!Alloc))/.test(op);
    return !needs || library.holds(slot);
  };
  const answer = (request: Request): Response => {
    if (!isThere(request)) return NOTHING;
    const { error, values, segments } = library.run(asKernel(request));
    if (request.op === 'poolCreate' && error === 0) pools.add(request.slot!);
    if (request.op === 'poolDestroy') pools.delete(request.slot!);
    return spoil(request, { error, values: [...values, 0n, 0n, 0n, 0n], segments });
  };
  return { run: (requests) => requests.map(answer) };
}

/** Differences that nothing explains, when every answer to `op` is spoiled. */
async function unexplained(setting: Setting, op: Operation, spoil: (response: Response) => Response) {
  const libraries = [await Library.open(setting, MEMORY, false), await Library.open(setting, MEMORY, false)];
  const kernel = kernelOf(libraries[0]!, (request, response) =>
    request.op === op && response.error === 0 ? spoil(response) : response,
  );
  const comparison = new Comparison(kernel, libraries[1]!, setting);
  const sequence = new Sequence(1, setting);
  comparison.run(sequence.begin());
  for (let i = 0; i < 4; i++) comparison.run(sequence.next(1000));
  comparison.run(sequence.end());
  for (const library of libraries) library.close();
  return comparison.unexplained;
}

const first = (value: (value: bigint) => bigint) => (response: Response) => ({
  ...response,
  values: [value(response.values[0]!), ...response.values.slice(1)],
});

const lies: readonly (readonly [string, Setting, Operation, (response: Response) => Response])[] = [
  ['a mapping beyond the mask', bounced, 'map', first((address) => address + 2n ** 64n)],
  ['a mapping at another offset', bounced, 'map', first((address) => address + 1n)],
  ['a failure to map', inPlace, 'map', () => ({ ...NOTHING, error: -12 })],
  ['a byte', bounced, 'hash', first((value) => value ^ 1n)],
  ['a byte that the device sees', inPlace, 'deviceHash', first((value) => value ^ 1n)],
  ['a block elsewhere in its page', bounced, 'poolAlloc', first((address) => address + 16n)],
  ['memory that is not aligned', bounced, 'alloc', first((address) => address + 1n)],
  ['registers beyond the mask', inPlace, 'mapResource', first((address) => address + 2n ** 64n)],
  ['registers that are not aligned', inPlace, 'mapResource', first((address) => address + 4096n)],
  ['registers that cannot be mapped', inPlace, 'mapResource', () => ({ ...NOTHING, error: -12 })],
  ['another register', inPlace, 'reach', first((offset) => offset + 4096n)],
  ['addresses that start elsewhere in their page', inPlace, 'iovaAlloc', first((address) => address + 1n)],
  ['a link that fails', inPlace, 'iovaLink', () => ({ ...NOTHING, error: -12 })],
  ['another required mask', bounced, 'readLimits', first((mask) => mask * 2n + 1n)],
  [
    'a list that did not merge',
    inPlace,
    'mapList',
    (response) => ({
      ...response,
      segments: response.segments.flatMap(({ address, size }) =>
        size === 2 * 4096
          ? [
              { address, size: 4096 },
              { address: address + 4096n, size: 4096 },
            ]
          : [{ address, size }],
      ),
    }),
  ],
];

describe('the comparison of the kernel with the library', () => {
  for (const setting of [bounced, inPlace]) {
    it(`two that do the same do not differ, ${setting.name}`, async () => {
      assert.deepEqual(await unexplained(setting, 'fill', (response) => response), []);
    });
  }

  for (const [what, setting, op, spoil] of lies) {
    it(`finds ${what}`, async () => {
      const found = await unexplained(setting, op, spoil);
      assert.ok(found.length > 0);
    });
  }
});
