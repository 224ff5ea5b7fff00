/** Changing the power state of a function (PCI Bus Power Management 1.2, 5.4 and 5.6.1; PCI Express 5.0, 5.9). */
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaError } from '../errors.ts';
import type { SettablePowerState } from './capabilities/standard.ts';
import type { ConfigSpace } from './config-space.ts';
import type { ResetReport, Resets } from './reset.ts';
import type { PciTransport } from './transport.ts';

const DEPTH: Readonly<Record<SettablePowerState, number>> = { D0: 0, D1: 1, D2: 2, D3hot: 3 };

/** Milliseconds before the driver may access a function that entered or left D3hot. After D2 the wait is 200 us. */
const D3_DELAY = 10;
const D2_DELAY = 1;

/** See `PciFunction.setPowerState`. */
export async function changePowerState(
  state: SettablePowerState,
  config: ConfigSpace,
  { address, restoresConfiguration }: PciTransport,
  resets: Resets,
): Promise<ResetReport | undefined> {
  const pm = config.powerManagement;
  if (pm === undefined) {
    if (state === 'D0') return undefined;
    throw new DmaError('EOPNOTSUPP', `${address} has no power management`, {
      remedy: 'it is in D0 as long as it has power',
    });
  }
  const from = pm.state;
  if (state === from) return undefined;
  if (state !== 'D0' && DEPTH[state] < DEPTH[from]) {
    throw new DmaError('EINVAL', `${address} cannot go from ${from} to ${state}`, {
      remedy: 'go to D0 first',
    });
  }
  const forgets = !pm.noSoftReset;
  if (state === 'D3hot' && forgets && !restoresConfiguration) {
    throw new DmaError('EOPNOTSUPP', `${address} would come back from D3hot without its configuration`, {
      remedy: 'only VFIO restores it: open the function through VFIO',
    });
  }
  pm.writeState(state);
  await sleep(Math.max(DEPTH[from], DEPTH[state]) === DEPTH.D3hot ? D3_DELAY : D2_DELAY);
  if (pm.state !== state) {
    throw new DmaError('EIO', `${address} is in ${pm.state}, and should be in ${state}`, {
      remedy: 'reset it; the kernel log (dmesg) may say why',
    });
  }
  return from === 'D3hot' && forgets ? resets.recover('power', [address]) : undefined;
}
