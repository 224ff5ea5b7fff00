/** The table of the matrix in a document. */
import { tableLines, withPart } from '../document-part.ts';
import { type Cell, keyOf } from './cells.ts';
import type { CellResult } from './results.ts';

const HEAD = ['Tests', 'Architecture, pages', 'Linux', 'QEMU', 'IOMMU', 'Node.js'];
const COUNTS = ['Passed', 'Failed', 'Skipped', 'Seconds', 'Date', 'Commit'];

function row(cell: Cell, result: CellResult | undefined): string[] {
  const tests = cell.machines === undefined ? 'host' : `${cell.machines.join(', ')}`;
  const only = cell.files === undefined ? '' : `: ${cell.files.join(', ')}`;
  const pages = `${result?.architecture ?? cell.architecture ?? 'x86-64'}, ${(cell.pages ?? 4096) / 1024} KiB`;
  const wanted = [cell.kernel, cell.qemu, cell.iommu, cell.node].map((choice) => choice ?? '');
  const had = result && [result.linux, result.qemu, result.iommu, result.node];
  const counts = result && [result.passed, result.failed, result.skipped, result.seconds];
  const when = result && [result.date, result.commit];
  return [
    ...[`${tests}${only}`, pages, ...(had ?? wanted)],
    ...(counts === undefined ? ['not run', '', '', '', '', ''] : [...counts.map(String), ...when!]),
  ];
}

/** What is not as everywhere: notes, failures, and why tests were skipped. */
function remarks(cell: Cell, result: CellResult | undefined): string[] {
  const where = row(cell, result)
    .slice(0, 6)
    .filter((part) => part !== '')
    .join(' · ');
  const counted = new Map<string, number>();
  for (const reason of result?.reasons ?? []) counted.set(reason, (counted.get(reason) ?? 0) + 1);
  const lines = [
    ...(cell.note === undefined ? [] : [cell.note]),
    ...(result?.failures ?? []).map((name) => `failed: ${name}`),
    ...[...counted].map(([reason, count]) => `${count} skipped: ${reason || 'no reason given'}`),
  ];
  return lines.length === 0 ? [] : [`- ${where}`, ...lines.map((line) => `  - ${line}`)];
}

/** The document with the table of these cells. */
export function withTable(
  document: string,
  cells: readonly Cell[],
  results: ReadonlyMap<string, CellResult>,
): string {
  const of = (cell: Cell) => results.get(keyOf(cell));
  const table = tableLines(
    [...HEAD, ...COUNTS],
    cells.map((cell) => row(cell, of(cell))),
  );
  const below = cells.flatMap((cell) => remarks(cell, of(cell)));
  const lines = ['', ...table, '', ...(below.length === 0 ? [] : [...below, ''])];
  return withPart(document, 'matrix', `${lines.join('\n')}\n`);
}
