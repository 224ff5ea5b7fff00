/**
 * The bench.
 *
 *   main.js [--vm] [--json FILE] [WORD...]    rows whose name contains one of the words; all without any
 *
 * Each row runs in a process of its own. Prints a table, writes the same as JSON (default bench-results.json), and
 * ends with status 1 when a row could not be run; a target that was missed is no failure. USERDMA_BENCH_QUICK=1
 * spends a tenth of the time: enough to see that everything runs, too little to compare. See docs/performance.md.
 */
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type RowReport, surroundings } from './report.ts';
import type { Row } from './row.ts';
import { rows } from './rows/index.ts';
import { header, lines, totals } from './table.ts';

const RUN_ROW = fileURLToPath(new URL('./run-row.js', import.meta.url));

/** A report even when the process of the row has died. */
function runRow({ name }: Row): Promise<RowReport> {
  return new Promise((resolve) => {
    const child = fork(RUN_ROW, [name], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    let complaint = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    let report: RowReport | undefined;
    child.on('message', (message) => {
      report = message as RowReport;
    });
    child.on('close', (status, signal) => {
      const why = /^\w*Error.*$/m.exec(complaint)?.[0] ?? `ended with ${signal ?? `status ${status}`}`;
      resolve(report ?? { name, verdicts: [], failure: why });
    });
  });
}

const { values, positionals } = parseArgs({
  options: {
    vm: { type: 'boolean', default: false },
    json: { type: 'string', default: 'bench-results.json' },
  },
  allowPositionals: true,
});
const world = values.vm ? 'vm' : undefined;
const wanted = rows.filter(
  ({ name, world: needed }) =>
    needed === world && (positionals.length === 0 || positionals.some((word) => name.includes(word))),
);
const surrounded = surroundings();
const { node, processor, load, quick } = surrounded;
console.log(
  `Node.js ${node}, ${processor}, load ${load.toFixed(1)}${quick ? ', quick: figures mean little' : ''}`,
);
console.log(header());
const reports: RowReport[] = [];
for (const row of wanted) {
  const report = await runRow(row);
  reports.push(report);
  console.log(lines(report));
}
console.log(`${totals(reports)}; load at the end ${loadavg()[0]!.toFixed(1)}`);
writeFileSync(
  values.json,
  `${JSON.stringify({ ...surrounded, loadAtEnd: loadavg()[0], rows: reports }, null, 2)}\n`,
);
console.log(`written: ${values.json}`);
process.exitCode = reports.length === 0 || reports.some(({ failure }) => failure !== undefined) ? 1 : 0;
