/** The allocator of I/O virtual addresses: churn at random among many, and requests that cannot be met. */
import { IovaAllocator } from '../../../lib/iommu/iova.ts';
import { comparators } from '../comparators.ts';
import { compare, inC, loop, type Side } from '../measure.ts';
import { SplitMix, shuffled } from '../random.ts';
import type { Row, Target } from '../row.ts';

const PAGE = 4096;
const RANGES = [
  { start: 0, end: 0xfedf_ffff },
  { start: 0xfef0_0000, end: 0x7f_ffff_ffff },
];
const TOP = 2 ** 48 - 1;
const LOW = 2 ** 32 - 1;

/** Frees one of `live` allocations and makes another; sizes of 4 to 128 KiB and places are known before the clock starts. */
function churn(live: number): Side {
  const iova = new IovaAllocator(RANGES, PAGE);
  const random = new SplitMix(live);
  const steps = 2 ** Math.max(16, Math.ceil(Math.log2(live)));
  const sizes = Int32Array.from({ length: steps }, () => PAGE * (1 + random.below(32)));
  const places = Int32Array.from({ length: steps }, () => random.below(live));
  const held = new Float64Array(live);
  const heldSizes = new Int32Array(live);
  for (let i = 0; i < live; i++) {
    heldSizes[i] = sizes[i % steps]!;
    held[i] = iova.alloc(heldSizes[i]!, TOP);
  }
  let step = 0;
  const run = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const place = places[step]!;
      const size = sizes[step]!;
      step = (step + 1) & (steps - 1);
      iova.free(held[place]!, heldSizes[place]!);
      held[place] = iova.alloc(size, TOP);
      heldSizes[place] = size;
    }
  };
  return loop(`IovaAllocator, ${live.toLocaleString('en')} live`, run);
}

function churnRow(live: number, targets: readonly Target[]): Row {
  return {
    name: `iova: free + alloc, ${live.toLocaleString('en')} live`,
    targets,
    run: () => compare(churn(live), inC('free + malloc of 64 B', comparators().mallocChurn(live, 64))),
  };
}

/** 4 GiB in pieces of 8 KiB, every other one free. */
function shredded(): IovaAllocator {
  const iova = new IovaAllocator([{ start: 0, end: LOW }], PAGE);
  const held: number[] = [];
  for (let at = iova.alloc(2 * PAGE, LOW); at >= 0; at = iova.alloc(2 * PAGE, LOW)) held.push(at);
  for (const at of shuffled(held.filter((address) => (address / PAGE) % 4 === 0))) iova.free(at, 2 * PAGE);
  return iova;
}

function refusalRow(what: string, size: number): Row {
  return {
    name: `iova: ${what} that cannot fit, 262,144 holes`,
    targets: [{ time: 50 }, { ratio: 1e-4 }],
    run() {
      const iova = shredded();
      if (iova.alloc(size, LOW) >= 0) throw new Error('the request fits');
      const ours = loop('IovaAllocator', (count) => {
        for (let i = 0; i < count; i++) iova.alloc(size, LOW);
      });
      return compare(ours, inC('walk over a list of the holes', comparators().walkHoles(2 ** 18)));
    },
  };
}

export const iovaRows: readonly Row[] = [
  churnRow(1e2, []),
  churnRow(1e3, []),
  churnRow(1e4, []),
  churnRow(1e5, [{ time: 30 }]),
  churnRow(1e6, []),
  {
    name: 'iova: free + alloc, growth 1e3 to 1e5 live',
    targets: [{ ratio: 3 }],
    run: () => compare(churn(1e5), churn(1e3)),
  },
  refusalRow('16 KiB', 4 * PAGE),
  refusalRow('1 MiB', 256 * PAGE),
];
