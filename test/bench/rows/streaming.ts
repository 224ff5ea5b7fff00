/** Streaming mappings and their syncs: of memory that is ours, and bounced, against memcpy. */
import type { DmaDirection, StreamingMapping } from '../../../lib/index.ts';
import { comparators } from '../comparators.ts';
import { type Machine, machine } from '../machine.ts';
import { compare, inC, loop } from '../measure.ts';
import type { Outcome, Row, Target } from '../row.ts';

/** Pieces of memory that take turns; a power of two. */
const PIECES = 16;
/** Mappings whose syncs take turns; a power of two. */
const MAPPINGS = 4;
const LONGEST = 2 ** 20;

/** Bytes as programs have them: several buffers' worth in one, aligned to nothing. */
export function foreignPieces(count: number, size: number): Uint8Array[] {
  const stride = size + 72;
  const memory = new Uint8Array(stride * count + 8).fill(1);
  return Array.from({ length: count }, (_, i) => memory.subarray(8 + i * stride, 8 + i * stride + size));
}

/** A device that copies whatever does not come from it. */
function bouncing(): Machine {
  return machine({ copybreak: Number.POSITIVE_INFINITY, bounce: { maxMapping: LONGEST } });
}

function mapAndUnmap({ dma }: Machine, views: readonly Uint8Array[], direction: DmaDirection) {
  const mask = views.length - 1;
  return (count: number): void => {
    for (let i = 0; i < count; i++) dma.mapSingle(views[i & mask]!, direction).unmap();
  };
}

/** The outcome, and how often the IOMMU was asked for anything meanwhile. */
function counted({ space }: Machine, measure: () => Outcome): Outcome {
  const before = space.calls;
  const outcome = measure();
  return { ...outcome, counts: { 'IOMMU calls': space.calls - before } };
}

function check(mapping: StreamingMapping, way: string): void {
  if (mapping.way !== way) throw new Error(`the mapping is ${mapping.way}, not ${way}`);
}

function ownRow(what: string, makeViews: (bench: Machine) => Uint8Array[]): Row {
  return {
    name: `map + unmap: ${what}`,
    targets: [{ time: 60 }, { count: 'IOMMU calls', most: 0 }],
    run() {
      const bench = machine();
      const views = makeViews(bench);
      const first = bench.dma.mapSingle(views[0]!, 'bidirectional');
      check(first, 'arithmetic');
      first.unmap();
      const ours = loop('mapSingle + unmap', mapAndUnmap(bench, views, 'bidirectional'));
      return counted(bench, () => compare(ours, inC('malloc + free', comparators().mallocPair(64))));
    },
  };
}

function bouncedRow(size: number, direction: DmaDirection, copies: number): Row {
  return {
    name: `map + unmap: bounced, ${bytes(size)} ${direction}`,
    targets: [{ added: 120 }, { count: 'IOMMU calls', most: 0 }],
    run() {
      const bench = bouncing();
      const views = foreignPieces(PIECES, size);
      const first = bench.dma.mapSingle(views[0]!, direction);
      check(first, 'bounced');
      first.unmap();
      const copy = comparators().copy(size, PIECES, 1);
      const theirs = copies === 1 ? copy : (count: number) => copies * copy(count);
      const ours = loop('mapSingle + unmap', mapAndUnmap(bench, views, direction));
      return counted(bench, () => compare(ours, inC(copies === 1 ? 'memcpy' : `memcpy x ${copies}`, theirs)));
    },
  };
}

type Sync = (mapping: StreamingMapping) => void;

const forCpu: Sync = (mapping) => mapping.syncForCpu();
const forDevice: Sync = (mapping) => mapping.syncForDevice();

function syncRow(name: string, size: number, copied: number, targets: readonly Target[], sync: Sync): Row {
  return {
    name: `sync: ${bytes(size)} ${name}`,
    targets,
    run() {
      const { dma } = bouncing();
      const mappings = foreignPieces(MAPPINGS, size).map((view) => dma.mapSingle(view, 'bidirectional'));
      check(mappings[0]!, 'bounced');
      const ours = loop('sync', (count) => {
        for (let i = 0; i < count; i++) sync(mappings[i & (MAPPINGS - 1)]!);
      });
      return compare(ours, inC('memcpy', comparators().copy(copied, MAPPINGS, MAPPINGS)));
    },
  };
}

function syncTarget(size: number): Target {
  return size <= 4096 ? { added: 30 } : { ratio: 1.1 };
}

function bytes(size: number): string {
  if (size < 4096) return `${size.toLocaleString('en')} B`;
  return size < 2 ** 20 ? `${size / 1024} KiB` : `${size / 2 ** 20} MiB`;
}

export const streamingRows: readonly Row[] = [
  ownRow('coherent memory', ({ dma }) => Array.from({ length: PIECES }, () => dma.allocCoherent(4096).bytes)),
  ownRow('blocks of a pool', ({ dma }) => {
    const pool = dma.createPool('bench', { size: 64, blocks: PIECES });
    return Array.from({ length: PIECES }, () => pool.alloc()!.bytes);
  }),
  ...[64, 1500, 4096].flatMap((size) => [
    bouncedRow(size, 'to-device', 1),
    bouncedRow(size, 'from-device', 2),
  ]),
  ...[64, 1500, 4096, 65536, LONGEST].flatMap((size) => [
    syncRow('for CPU', size, size, [syncTarget(size)], forCpu),
    syncRow('for device', size, size, [syncTarget(size)], forDevice),
  ]),
  syncRow('for CPU, 256 B in the middle', 4096, 256, [syncTarget(256)], (mapping) =>
    mapping.syncForCpu(512, 256),
  ),
  syncRow('for device, 256 B in the middle', 4096, 256, [syncTarget(256)], (mapping) =>
    mapping.syncForDevice(512, 256),
  ),
];
