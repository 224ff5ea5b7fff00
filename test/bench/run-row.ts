/** The process of one row, named by its argument: what another row has taught V8 does not reach it. */
import { mixedUse } from './mixed-use.ts';
import { reportOf } from './report.ts';
import { rows } from './rows/index.ts';

const row = rows.find(({ name }) => name === process.argv[2]);
if (row === undefined) throw new Error(`there is no row ${process.argv[2]}`);
mixedUse();
const report = reportOf(row, await row.run());
process.send!(report, () => process.disconnect());
