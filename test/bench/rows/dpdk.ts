/** Beside DPDK, where it is installed: what a user would take instead. DPDK isolates no device and detaches no memory. */
import type { DmaPoolBlock } from '../../../lib/index.ts';
import { dpdkVersion, startDpdk } from '../dpdk.ts';
import { machine } from '../machine.ts';
import { compare, type Loop, loop, type Side } from '../measure.ts';
import type { Row, Target } from '../row.ts';

const SIZE = 64;
const BATCH = 32;
const PAGE = 4096;
const LIVE = 256;
const VIEWS = 16;

function newPool() {
  return machine().dma.createPool('bench', { size: SIZE, align: SIZE, blocks: 2048 });
}

function pair(): Loop {
  const pool = newPool();
  return (count) => {
    for (let i = 0; i < count; i++) pool.free(pool.alloc()!);
  };
}

function batch(): Loop {
  const pool = newPool();
  const blocks = new Array<DmaPoolBlock>(BATCH).fill(pool.alloc()!);
  return (count) => {
    for (let i = 0; i < count; i++) {
      pool.allocMany(blocks);
      pool.freeMany(blocks);
    }
  };
}

function batchByIndex(): Loop {
  const pool = newPool();
  const indices = new Array<number>(BATCH).fill(0);
  return (count) => {
    for (let i = 0; i < count; i++) {
      pool.allocIndices(indices);
      pool.freeIndices(indices);
    }
  };
}

function coherent(): Loop {
  const { dma } = machine();
  return (count) => {
    for (let i = 0; i < count; i++) dma.allocCoherent(PAGE).free();
  };
}

function coherentAmong(): Loop {
  const { dma } = machine();
  const live = Array.from({ length: LIVE }, () => dma.allocCoherent(PAGE));
  return (count) => {
    for (let i = 0; i < count; i++) {
      live[i % LIVE]!.free();
      live[i % LIVE] = dma.allocCoherent(PAGE);
    }
  };
}

function addresses(): Loop {
  const { dma } = machine();
  const views = Array.from({ length: VIEWS }, () => dma.allocCoherent(PAGE).bytes);
  const found = new Array<bigint | undefined>(VIEWS).fill(0n);
  return (count) => {
    for (let i = 0; i < count; i++) found[i & (VIEWS - 1)] = dma.addressOf(views[i & (VIEWS - 1)]!);
  };
}

/** Rows that DPDK is better at come first. */
export function dpdkRows(): readonly Row[] {
  const version = dpdkVersion();
  if (version === undefined) return [];
  const row = (
    what: string,
    ours: () => Loop,
    theirs: string,
    name: string,
    operations = 1,
    targets: readonly Target[] = [],
  ): Row => ({
    name: `dpdk: ${what}`,
    targets,
    run() {
      const side: Side = { label: `DPDK ${version} ${name}`, timed: startDpdk()(theirs), operations };
      return compare(loop('userdma', ours(), operations), side);
    },
  });
  return [
    row('allocCoherent(4096) + free', coherent, 'zeroed', 'rte_zmalloc + rte_free, alone'),
    row(
      'allocCoherent(4096) + free, 256 live',
      coherentAmong,
      'zeroed-among',
      'rte_zmalloc + rte_free, 256 live',
    ),
    row('32 blocks out and back in a batch, each', batch, 'bulk', 'rte_mempool bulk, cached', BATCH),
    row('32 blocks by index, each', batchByIndex, 'bulk', 'rte_mempool bulk, cached', BATCH),
    row('32 blocks, against no cache, each', batch, 'bulk-uncached', 'rte_mempool bulk, not cached', BATCH),
    row('addressOf(view)', addresses, 'addresses', 'rte_mem_virt2iova'),
    row('block of a pool, alloc + free', pair, 'pair', 'rte_mempool get + put, cached', 1, [{ ratio: 1 }]),
  ];
}
