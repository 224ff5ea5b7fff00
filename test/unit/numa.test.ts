/** Which node of memory a function gets, from files of /sys. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memoryNodes, nearestNode } from '../../lib/memory/numa.ts';
import { describePci } from '../../lib/pci/list.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userdma-numa-'));
  mkdirSync(`${root}/sys/devices/system/node`, { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

const nodes = (text: string) => writeFileSync(`${root}/sys/devices/system/node/has_memory`, text);

describe('nodes of memory', () => {
  it('are listed as the kernel lists them', () => {
    expect(memoryNodes(root)).toEqual([]);
    for (const [text, list] of [
      ['0\n', [0]],
      ['0-1\n', [0, 1]],
      ['0,2-4,7\n', [0, 2, 3, 4, 7]],
      ['\n', []],
      ['x\n', []],
    ] as const) {
      nodes(text);
      expect(memoryNodes(root)).toEqual(list);
    }
  });

  it('are chosen only where there is a choice, and the node has memory', () => {
    nodes('0\n');
    expect(nearestNode(0, root)).toBeUndefined();
    nodes('0,2\n');
    expect([-1, 0, 1, 2].map((node) => nearestNode(node, root))).toEqual([undefined, 0, undefined, 2]);
  });

  it('of a function are told if the kernel knows one', () => {
    const folder = `${root}/sys/bus/pci/devices/0000:00:10.0`;
    mkdirSync(folder, { recursive: true });
    const nodeOf = () => describePci('0000:00:10.0', root)!.numaNode;
    expect(nodeOf()).toBeUndefined();
    for (const [text, node] of [
      ['-1\n', undefined],
      ['0\n', 0],
      ['3\n', 3],
    ] as const) {
      writeFileSync(`${folder}/numa_node`, text);
      expect(nodeOf()).toBe(node);
    }
  });
});
