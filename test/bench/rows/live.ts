/**
 * What one more costs while many of its kind are live: the same loop, on a machine with none and on one with `live` of
 * them. Nothing that is made and given back may be looked for among the others.
 */
import type { DmaDevice, DmaPool } from '../../../lib/index.ts';
import { type MachineOptions, machine } from '../machine.ts';
import { compare, loop, type Side } from '../measure.ts';
import type { Row } from '../row.ts';

const PAGE = 4096;

/** One kind of thing that comes and goes. */
interface Kind {
  readonly name: string;
  readonly options?: MachineOptions;
  /** Makes one more; makes one and gives it back. */
  readonly prepare: (dma: DmaDevice) => { readonly make: () => unknown; readonly pair: () => void };
}

/** A kind whose objects end by themselves. */
function kind<T>(
  name: string,
  end: (one: T) => void,
  prepare: (dma: DmaDevice) => () => T,
  options?: MachineOptions,
): Kind {
  return {
    name,
    ...(options !== undefined && { options }),
    prepare: (dma) => {
      const make = prepare(dma);
      return { make, pair: () => end(make()) };
    },
  };
}

const unmap = (one: { unmap(): void }): void => one.unmap();
const free = (one: { free(): void }): void => one.free();

/** Everything is copied, and there is room for all. */
const BOUNCING: MachineOptions = { copybreak: Number.POSITIVE_INFINITY, bounce: { total: 2 ** 31 } };
const PINNING: MachineOptions = { copybreak: 0 };

const KINDS: readonly Kind[] = [
  kind('map + unmap of ours', unmap, (dma) => {
    const { bytes } = dma.allocCoherent(PAGE);
    return () => dma.mapSingle(bytes, 'to-device');
  }),
  kind(
    'map + unmap, bounced',
    unmap,
    (dma) => {
      const view = new Uint8Array(300).subarray(8, 264);
      return () => dma.mapSingle(view, 'to-device');
    },
    BOUNCING,
  ),
  kind(
    'map + unmap, pinned',
    unmap,
    (dma) => {
      const view = new Uint8Array(PAGE);
      return () => dma.mapSingle(view, 'to-device');
    },
    PINNING,
  ),
  kind('list of ours', unmap, (dma) => {
    const { bytes } = dma.allocCoherent(PAGE);
    const views = [bytes.subarray(0, 64), bytes.subarray(128, 192)];
    return () => dma.mapSg(views, 'to-device');
  }),
  kind(
    'list, bounced',
    unmap,
    (dma) => {
      const memory = new Uint8Array(PAGE);
      const views = [memory.subarray(8, 64), memory.subarray(136, 192)];
      return () => dma.mapSg(views, 'to-device');
    },
    BOUNCING,
  ),
  kind(
    'list, pinned',
    unmap,
    (dma) => {
      const views = [new Uint8Array(PAGE), new Uint8Array(PAGE)];
      return () => dma.mapSg(views, 'to-device');
    },
    PINNING,
  ),
  kind('allocCoherent + free', free, (dma) => () => dma.allocCoherent(PAGE)),
  kind('allocNoncoherent + free', free, (dma) => () => dma.allocNoncoherent(PAGE, 'bidirectional')),
  kind('allocNoncontiguous + free', free, (dma) => () => dma.allocNoncontiguous(PAGE, 'bidirectional')),
  kind('reserveIova + free', free, (dma) => () => dma.reserveIova(PAGE)!),
  kind(
    'createPool + destroy',
    (pool: DmaPool) => pool.destroy(),
    (dma) => () => dma.createPool('bench', { size: 64, blocks: 1 }),
  ),
  kind('block of a pool', free, (dma) => {
    const pool = dma.createPool('bench', { size: 64 });
    return () => pool.alloc()!;
  }),
];

/** The loop on a machine where so many are live, and stay so as long as the loop does. */
function among({ options, prepare }: Kind, live: number): Side {
  const { dma } = machine(options);
  const { make, pair } = prepare(dma);
  const held = Array.from({ length: live }, make);
  return loop(`${live.toLocaleString('en')} live`, (count) => {
    for (let i = 0; i < count; i++) pair();
    if (held.length !== live) throw new Error('they are gone');
  });
}

function growthRow(one: Kind, live: number, ratio: number): Row {
  return {
    name: `live: ${one.name}, ${live.toLocaleString('en')} live`,
    targets: [{ ratio }],
    run: () => compare(among(one, live), among(one, 0)),
  };
}

export const liveRows: readonly Row[] = KINDS.flatMap((one) => [
  growthRow(one, 1e2, 2),
  growthRow(one, 1e4, 2),
  growthRow(one, 1e5, 3),
]);
