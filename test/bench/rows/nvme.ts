/**
 * The NVMe driver on its simulated controller, all of it on one core: 32 commands under way, 4 KiB reads at random places of
 * 64 MiB, by the driver's way without promises. The other side is C that copies the same pages. Then the parts of it.
 */
import { CompletionEntry, DataPointer, SubmissionEntry } from '../../../examples/nvme/commands.ts';
import { NvmeController } from '../../../examples/nvme/controller.ts';
import { type Completion, QueuePair } from '../../../examples/nvme/queue-pair.ts';
import { headDoorbell } from '../../../examples/nvme/registers.ts';
import { type Bar, type DmaDevice, openPci } from '../../../lib/index.ts';
import { type DeviceBus, NvmeModel, simulate } from '../../../lib/sim/index.ts';
import { Master } from '../../master.ts';
import { comparators } from '../comparators.ts';
import { heapUseOf } from '../heap.ts';
import { machine } from '../machine.ts';
import { type Comparison, compare, inC, type Loop, loop, QUICK } from '../measure.ts';
import { SplitMix } from '../random.ts';
import type { Row } from '../row.ts';

const DEPTH = 32;
const BLOCK = 512;
const SIZE = 4096;
const PAGES = 16_384;
/** Reads of the row that counts. */
const MANY = QUICK ? 1e5 : 1e6;
/** 300,000 reads a second. */
const EACH = 3333;

/** One of the commands that are always under way: when it is done, it is sent for another page. */
class Reader implements Completion {
  done = 0;
  readonly #pair: QueuePair;
  readonly #data: DataPointer;
  readonly #pages: Int32Array;
  #next: number;

  constructor(pair: QueuePair, data: DataPointer, pages: Int32Array, first: number) {
    this.#pair = pair;
    this.#data = data;
    this.#pages = pages;
    this.#next = first;
  }

  submit(): void {
    const page = this.#pages[this.#next]!;
    this.#next = (this.#next + DEPTH) % this.#pages.length;
    this.#pair.submitRead(1, page * (SIZE / BLOCK), SIZE / BLOCK, this.#data, this);
  }

  complete(status: number): void {
    if (status !== 0) throw new Error(`status 0x${status.toString(16)}`);
    this.done++;
    this.submit();
  }

  /** The row is over. */
  abandon(): void {}
}

/** @param measure is given the loop: so many reads */
async function withReads<T>(debug: boolean, measure: (run: Loop) => T | Promise<T>): Promise<T> {
  const model = new NvmeModel();
  const image = model.namespaces[0]!;
  const page = new Uint8Array(SIZE);
  for (let i = 0; i < PAGES; i++) {
    page.fill(i % 255);
    image.write(i * SIZE, page);
  }
  const fn = await openPci(simulate(model), { debug: debug ? { print: false } : false });
  await using nvme = await NvmeController.open(fn, { depth: DEPTH, completions: 'poll' });
  const { pair } = nvme.queues[0]!;
  const random = new SplitMix(1);
  const pages = Int32Array.from({ length: PAGES }, () => random.below(PAGES));
  for (let i = 0; i < DEPTH; i++) {
    const data = nvme.memory.lend(fn.dma.allocCoherent(SIZE).bytes, 'from-device').pointer;
    new Reader(pair, data, pages, i).submit();
  }
  return await measure(turns(pair));
}

/** The driver alone: a doorbell that completes all there is, by nothing but the stores that it takes. */
function driverAlone(dma: DmaDevice): Loop {
  let tail = 0;
  let phase = 1;
  const ring = (offset: number, value: number): void => {
    if (offset === headDoorbell(1, 4)) return;
    for (; tail !== value; tail++) {
      if (tail === DEPTH + 1) {
        tail = -1;
        phase ^= 1;
        continue;
      }
      completions.tail.set(tail, (submissions.head.get(tail) >>> 16) | (phase << 16));
    }
  };
  const registers = { write32: ring } as unknown as Bar;
  const shape = { id: 1, entries: DEPTH + 1, doorbellStride: 4, pageSize: 4096 };
  const pair = new QueuePair({ dma, registers, ...shape });
  const submissions = SubmissionEntry.over(pair.submissions.bytes);
  const completions = CompletionEntry.over(pair.completions.bytes);
  const pages = Int32Array.from({ length: PAGES }, (_, i) => i);
  for (let i = 0; i < DEPTH; i++) new Reader(pair, new DataPointer(), pages, i).submit();
  return turns(pair);
}

/** So many commands, which send themselves again. */
function turns(pair: QueuePair): Loop {
  return (count) => {
    for (let done = 0; done < count; ) {
      pair.ring();
      done += pair.poll();
    }
  };
}

function copies() {
  return inC('memcpy of 4 KiB', comparators().copy(SIZE, PAGES, DEPTH));
}

/** A part of it, on a bus of its own. */
function busRow(what: string, make: (bus: DeviceBus, addresses: number[]) => Loop): Row {
  return {
    name: `nvme: part, ${what}`,
    targets: [],
    async run(): Promise<Comparison> {
      const model = new Master();
      const fn = await openPci(simulate(model), { debug: false });
      fn.setMaster();
      const addresses = Array.from({ length: DEPTH }, () => Number(fn.dma.allocCoherent(SIZE).dmaAddress));
      return compare(loop('simulation', make(model.bus, addresses)), copies());
    },
  };
}

export const nvmeRows: readonly Row[] = [
  {
    name: 'nvme: 4 KiB random reads, depth 32',
    targets: [{ time: EACH }],
    run: () => withReads(false, (run) => compare(loop('driver, model and IOMMU', run), copies())),
  },
  {
    name: 'nvme: 4 KiB random reads, depth 32, dma-debug',
    targets: [],
    run: () => withReads(true, (run) => compare(loop('with dma-debug', run), copies())),
  },
  {
    name: `nvme: garbage of ${MANY.toLocaleString('en')} reads`,
    targets: [
      { count: 'minor collections', most: 20 },
      { count: 'heap growth, KiB', most: 1024 },
    ],
    async run() {
      const { minorCollections, growth } = await withReads(false, (run) =>
        heapUseOf(
          () => run(MANY / 10),
          () => run(MANY),
        ),
      );
      return { counts: { 'minor collections': minorCollections, 'heap growth, KiB': growth / 1024 } };
    },
  },
  {
    name: 'nvme: part, driver',
    targets: [],
    run: () => compare(loop('submit, ring, poll', driverAlone(machine().dma)), copies()),
  },
  busRow('device reads an entry of 64 B', (bus, addresses) => {
    const entry = new Uint8Array(64);
    return (count) => {
      for (let i = 0; i < count; i++) bus.dmaRead(addresses[i % DEPTH]! + 64, entry);
    };
  }),
  busRow('device writes 16 B', (bus, addresses) => {
    const entry = new Uint8Array(16);
    return (count) => {
      for (let i = 0; i < count; i++) bus.dmaWrite(addresses[i % DEPTH]! + 32, entry);
    };
  }),
  busRow('device writes 4 KiB', (bus, addresses) => {
    const pages = Array.from({ length: PAGES }, (_, i) => new Uint8Array(SIZE).fill(i));
    return (count) => {
      for (let i = 0; i < count; i++) bus.dmaWrite(addresses[i % DEPTH]!, pages[i % PAGES]!);
    };
  }),
  busRow('device reads 4 KiB', (bus, addresses) => {
    const pages = Array.from({ length: PAGES }, (_, i) => new Uint8Array(SIZE).fill(i));
    return (count) => {
      for (let i = 0; i < count; i++) bus.dmaRead(addresses[i % DEPTH]!, pages[i % PAGES]!);
    };
  }),
];
