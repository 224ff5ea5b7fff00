/** Device files of UIO. */
import { openNode } from '../device-node.ts';

/**
 * Open /dev/`node` for registers and interrupts.
 * @returns a descriptor in non-blocking mode; the caller closes it
 * @throws DmaError as `openNode`
 */
export function openUioNode(node: string, root = ''): number {
  const path = `${root}/dev/${node}`;
  return openNode({
    path,
    absent: `in a container, pass --device=${path}; elsewhere check that devtmpfs or udev fills /dev`,
    rule: 'SUBSYSTEM=="uio"',
  });
}
