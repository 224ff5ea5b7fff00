/**
 * NUMA: the nodes of memory of a machine, and which of them is nearest to a function. The kernel allocates DMA memory
 * on the node of the device while it has room (dma_alloc_coherent, dev_to_node), and so does the library.
 */
import { argumentError } from '../arguments.ts';
import { readText } from '../files.ts';

const NODES = '/sys/devices/system/node';

/** The nodes that have memory, in ascending order; none if the kernel does not know nodes. */
export function memoryNodes(root = ''): number[] {
  const list = readText(`${root}${NODES}/has_memory`)?.trim() ?? '';
  return list.split(',').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number);
    if (part === '' || !Number.isInteger(first) || !Number.isInteger(last)) return [];
    return Array.from({ length: last! - first! + 1 }, (_, index) => first! + index);
  });
}

/**
 * The node whose memory a function gets by default.
 * @param node of the function, as /sys tells it: -1 if the kernel does not know
 * @returns undefined if there is no choice, or none that is known to be better
 */
export function nearestNode(node: number, root = ''): number | undefined {
  const nodes = memoryNodes(root);
  return nodes.length > 1 && nodes.includes(node) ? node : undefined;
}

/** The node to ask the kernel for. On a machine of one there is nothing to choose, and the kernel may not know nodes. */
export function wantedNode(node: number | undefined): number | undefined {
  return node !== undefined && memoryNodes().length > 1 ? node : undefined;
}

/** A node of this machine that has memory. */
export function checkNode(node: unknown, what: string): void {
  const nodes = memoryNodes();
  if (typeof node === 'number' && (nodes.length === 0 ? node === 0 : nodes.includes(node))) return;
  const remedy =
    nodes.length > 1
      ? `the nodes with memory are ${nodes.join(', ')}`
      : 'this machine has one node: pass 0, or leave it out';
  throw argumentError(what, node, remedy);
}
