/** Where something of ours is for the device, and what is at a device address; with few regions and with many. */

import { OwnMemory, type OwnRegion } from '../../../lib/dma/operations/own-memory.ts';
import type { CoherentBuffer, DmaDevice } from '../../../lib/index.ts';
import { comparators } from '../comparators.ts';
import { machine } from '../machine.ts';
import { compare, inC, loop, type Side } from '../measure.ts';
import { SplitMix } from '../random.ts';
import type { Row } from '../row.ts';

/** Regions a driver has its hands on at once, and places to put what it asks for; a power of two. */
const WORKING_SET = 16;
const FEW = 100;
const MANY = 100_000;

/** `WORKING_SET` of them at random; as many as there are when `all`. A power of two. */
function chosen<T>(from: readonly T[], all: boolean): T[] {
  const random = new SplitMix(from.length);
  const count = all ? 2 ** Math.floor(Math.log2(from.length)) : WORKING_SET;
  return Array.from({ length: count }, () => from[random.below(from.length)]!);
}

/** A side that has so many regions, and visits a working set of them, or `all`. */
type MakeSide = (regions: number, all: boolean) => Side;

function coherent(regions: number): { readonly dma: DmaDevice; readonly buffers: CoherentBuffer[] } {
  const { dma } = machine();
  return { dma, buffers: Array.from({ length: regions }, () => dma.allocCoherent(64)) };
}

function label(what: string, regions: number): string {
  return `${what}, ${regions.toLocaleString('en')} regions`;
}

// What each loop uses is an argument of the function it is in: V8 would load a variable of an outer one every time.

const handleWords: MakeSide = (regions, all) => {
  const run = (count: number, handles: CoherentBuffer[], descriptors: Uint32Array): void => {
    const mask = handles.length - 1;
    for (let i = 0; i < count; i++) {
      const handle = handles[i & mask]!;
      const at = 2 * (i & (WORKING_SET - 1));
      descriptors[at] = handle.low;
      descriptors[at + 1] = handle.high;
    }
  };
  const handles = chosen(coherent(regions).buffers, all);
  const descriptors = new Uint32Array(2 * WORKING_SET);
  return loop(label('handle.low, .high', regions), (count) => run(count, handles, descriptors));
};

const handleAddress: MakeSide = (regions, all) => {
  const run = (count: number, handles: CoherentBuffer[], found: bigint[]): void => {
    const mask = handles.length - 1;
    for (let i = 0; i < count; i++) found[i & (WORKING_SET - 1)] = handles[i & mask]!.dmaAddress;
  };
  const handles = chosen(coherent(regions).buffers, all);
  const found = new Array<bigint>(WORKING_SET).fill(0n);
  return loop(label('handle.dmaAddress', regions), (count) => run(count, handles, found));
};

/** @param viewOf what is asked about */
function viewAddress(what: string, viewOf: (buffer: CoherentBuffer) => Uint8Array): MakeSide {
  const run = (count: number, device: DmaDevice, views: Uint8Array[], found: bigint[]): void => {
    const mask = views.length - 1;
    for (let i = 0; i < count; i++) found[i & (WORKING_SET - 1)] = device.addressOf(views[i & mask]!);
  };
  return (regions, all) => {
    const { dma, buffers } = coherent(regions);
    const views = chosen(buffers, all).map(viewOf);
    const found = new Array<bigint>(WORKING_SET).fill(0n);
    return loop(label(what, regions), (count) => run(count, dma, views, found));
  };
}

/** @param start of the first region; the others follow it */
function regionAt(start: number): MakeSide {
  const run = (
    count: number,
    own: OwnMemory,
    asked: Float64Array,
    found: (OwnRegion | undefined)[],
  ): void => {
    const mask = asked.length - 1;
    for (let i = 0; i < count; i++) found[i & (WORKING_SET - 1)] = own.regionAt(asked[i & mask]!);
  };
  return (regions, all) => {
    const own = new OwnMemory(4096);
    const addresses = Array.from({ length: regions }, (_, i) => start + 4096 * i);
    for (const address of addresses) {
      own.add({ buffer: new ArrayBuffer(1), address, size: 1, span: 4096, coherent: true });
    }
    const asked = Float64Array.from(chosen(addresses, all));
    const found = new Array<OwnRegion | undefined>(WORKING_SET).fill(undefined);
    return loop(label('regionAt(address)', regions), (count) => run(count, own, asked, found));
  };
}

/** @param most nanoseconds, at 1e5 regions */
function rowsOf(what: string, most: number | undefined, side: MakeSide): Row[] {
  const lookup = (touched: number) => inC('two-level table', comparators().lookup(MANY, touched));
  return [
    {
      name: `translate: ${what}, 1e5 regions`,
      targets: most === undefined ? [] : [{ time: most }],
      run: () => compare(side(MANY, false), lookup(WORKING_SET)),
    },
    {
      name: `translate: ${what}, growth 1e2 to 1e5`,
      targets: most === undefined ? [] : [{ ratio: 1.5 }],
      run: () => compare(side(MANY, false), side(FEW, false)),
    },
    {
      name: `translate: ${what}, all 1e5 at random`,
      targets: [],
      run: () => compare(side(MANY, true), lookup(MANY)),
    },
  ];
}

export const translateRows: readonly Row[] = [
  ...rowsOf('handle to words', 5, handleWords),
  ...rowsOf('handle to bigint', 5, handleAddress),
  ...rowsOf(
    'our view to bigint',
    5,
    viewAddress('addressOf(handle.bytes)', ({ bytes }) => bytes),
  ),
  ...rowsOf(
    'another view to bigint',
    undefined,
    viewAddress('addressOf(new view)', ({ buffer }) => new Uint8Array(buffer, 16)),
  ),
  ...rowsOf('address to region', 10, regionAt(2 ** 30)),
  ...rowsOf('address over 4 GiB to region', 10, regionAt(2 ** 33)),
];
