/** Every row, in the order of the table. */
import type { Row } from '../row.ts';
import { coherentRows } from './coherent.ts';
import { debugRows } from './debug.ts';
import { dpdkRows } from './dpdk.ts';
import { forwardRows } from './forward.ts';
import { garbageRows } from './garbage.ts';
import { interruptRows } from './interrupts.ts';
import { iovaRows } from './iova.ts';
import { liveRows } from './live.ts';
import { liveFunctionRows } from './live-functions.ts';
import { nvmeRows } from './nvme.ts';
import { poolRows } from './pool.ts';
import { registerRows } from './registers.ts';
import { rtlRows } from './rtl.ts';
import { scatterGatherRows } from './scatter-gather.ts';
import { startupRows } from './startup.ts';
import { streamingRows } from './streaming.ts';
import { translateRows } from './translate.ts';
import { vfioRows } from './vfio.ts';

export const rows: readonly Row[] = [
  ...poolRows,
  ...iovaRows,
  ...translateRows,
  ...streamingRows,
  ...scatterGatherRows,
  ...coherentRows,
  ...dpdkRows(),
  ...liveRows,
  ...liveFunctionRows,
  ...debugRows,
  ...forwardRows,
  ...garbageRows,
  ...nvmeRows,
  ...registerRows,
  ...interruptRows,
  ...rtlRows,
  ...startupRows,
  ...vfioRows,
];
