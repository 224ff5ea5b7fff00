/** The table of the matrix. */
import { describe, expect, it } from 'vitest';
import { type Cell, cells, keyOf } from '../matrix/cells.ts';
import type { CellResult } from '../matrix/results.ts';
import { withTable } from '../matrix/table.ts';
import { machines } from '../vm/machine.ts';

const cell: Cell = { machines: ['intel'], qemu: 'sid', note: 'it logs nothing' };
const result: CellResult = {
  ...{ key: keyOf(cell), architecture: 'x86-64', linux: '7.3', qemu: '11.1', iommu: 'amd', node: '24.1.0' },
  ...{ passed: 3, failed: 1, skipped: 2, seconds: 7, failures: ['a | b'], reasons: ['no disk', 'no disk'] },
  ...{ date: '2026-01-01', commit: 'abc' },
};
const around = (inside: string) => `before\n<!-- matrix -->\n${inside}<!-- end of matrix -->\nafter\n`;

describe('the matrix', () => {
  it('is a table between its marks, with what was skipped, failed and noted', () => {
    const text = withTable(around('old'), [cell, { node: '20' }], new Map([[result.key, result]]));
    expect(text).toMatch(/^before\n/);
    expect(text).toMatch(/after\n$/);
    expect(text).not.toContain('old');
    expect(text).toContain(
      '| intel | x86-64, 4 KiB | 7.3 | 11.1 | amd | 24.1.0 | 3 | 1 | 2 | 7 | 2026-01-01 | abc |',
    );
    expect(text).toContain('| host | x86-64, 4 KiB |  |  |  | 20 | not run |');
    for (const line of ['it logs nothing', 'failed: a | b', '2 skipped: no disk']) {
      expect(text).toContain(`  - ${line}\n`);
    }
    expect(withTable(text, [cell, { node: '20' }], new Map([[result.key, result]]))).toBe(text);
  });

  it('is refused where the marks are not', () => {
    expect(() => withTable('text', [], new Map())).toThrow(/no marks/);
  });

  it('has each cell once, on machines that there are', () => {
    expect(new Set(cells.map(keyOf)).size).toBe(cells.length);
    const names = new Set(machines.map(({ name }) => name));
    for (const { machines: wanted = [] } of cells) for (const name of wanted) expect(names).toContain(name);
  });
});
