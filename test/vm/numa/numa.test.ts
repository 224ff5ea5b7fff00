/** Where pages lie on a machine of two nodes: the kernel's own count of them is asked (/proc/self/numa_maps). */
import { readFileSync } from 'node:fs';
import {
  describePci,
  diagnoseMachine,
  type HugePages,
  MemfdMemory,
  openPci,
  type PciFunction,
} from '../../../lib/index.ts';
import { memoryNodes } from '../../../lib/memory/numa.ts';
import { assert, describe, it } from '../../harness.ts';
import { device } from '../devices.ts';

const NEAR = device('USERDMA_TEST_EDU');
const FAR = device('USERDMA_TEST_EDU_FAR');
const MIB = 2 ** 20;

/** Pages of our memfds by node, as the kernel counts them. */
function pagesByNode(): number[] {
  const counts = [0, 0];
  for (const line of readFileSync('/proc/self/numa_maps', 'utf8').split('\n')) {
    if (!line.includes('userdma')) continue;
    for (const [, node, pages] of line.matchAll(/ N(\d)=(\d+)/g)) counts[Number(node)]! += Number(pages);
  }
  return counts;
}

/** What an allocation adds to the nodes. */
function placed(fn: PciFunction, size = 4 * MIB): number[] {
  const before = pagesByNode();
  fn.dma.allocCoherent(size).bytes.fill(1);
  return pagesByNode().map((count, node) => count - before[node]!);
}

describe('a machine of two nodes', () => {
  it('says where functions and memory are', () => {
    assert.deepEqual(memoryNodes(), [0, 1]);
    assert.equal(describePci(FAR)!.numaNode, 1);
    const { machine, opening } = diagnoseMachine({ address: FAR });
    assert.deepEqual([machine.numaNodes, opening], [[0, 1], { iommu: 'iommufd', numaNode: 1 }]);
  });

  for (const iommu of ['iommufd', 'container'] as const) {
    it(`memory of a function is on its node: ${iommu}`, async () => {
      using far = await openPci(FAR, { iommu });
      assert.deepEqual(placed(far), [0, 1024]);
    });
  }

  it('memory of a function that is nearest to none is where the kernel puts it', async () => {
    using near = await openPci(NEAR);
    const expected = describePci(NEAR)!.numaNode === undefined ? 'any' : 'first';
    const [first, second] = placed(near);
    assert.equal(first! + second!, 1024);
    if (expected === 'first') assert.equal(second, 0);
  });

  it('another node can be asked for', async () => {
    using far = await openPci(FAR, { numaNode: 0 });
    assert.deepEqual(placed(far), [1024, 0]);
    using near = await openPci(NEAR, { numaNode: 1 });
    assert.deepEqual(placed(near), [0, 1024]);
  });

  for (const hugepages of [true, '2MiB', 'prefer'] as readonly HugePages[]) {
    it(`huge pages are of the node: ${hugepages}`, async () => {
      for (const numaNode of [0, 1]) {
        using far = await openPci(FAR, { numaNode, hugepages });
        assert.deepEqual(placed(far), numaNode === 0 ? [2, 0] : [0, 2]);
      }
    });
  }

  it('a node that is full is no error: the rest comes from the other', async () => {
    using far = await openPci(FAR, { hugepages: true });
    const [first, second] = placed(far, 24 * MIB);
    // The domain has taken some for other memory before.
    assert.equal(first! + second!, 12);
    assert.ok(second! > 0 && first! > 0, `${first} and ${second}`);
  });

  it('memory is on the node by itself, without a function', () => {
    const memory = new MemfdMemory({ numaNode: 1 });
    const before = pagesByNode();
    new Uint8Array(memory.allocate(4 * MIB)).fill(1);
    assert.deepEqual([pagesByNode()[0], pagesByNode()[1]! - before[1]!], [before[0], 1024]);
    memory.close();
  });

  it('nodes that there are not are refused, and memory of a domain stays where it is', async () => {
    for (const numaNode of [2, -1, 0.5, 'x', 1024]) {
      await assert.rejects(openPci(FAR, { numaNode: numaNode as number }), /are 0, 1/);
    }
    using far = await openPci(FAR);
    await assert.rejects(openPci(NEAR, { domain: far.domain!, numaNode: 0 }), /not of NUMA node 0/);
    using near = await openPci(NEAR, { domain: far.domain! });
    assert.deepEqual(placed(near), [0, 1024]);
  });
});
