/** What the driver does with memory, as texts for the scope `driver` of a waveform: at most 64 characters are shown. */
import type { DriverAct } from '../debug/observer.ts';
import type { DmaReport } from '../dma/debug-view.ts';

/** `map 0x7ffff000+4096 to-device` */
export function noteOfAct({ act, entry, offset, size }: DriverAct): string {
  const at = `0x${(entry.address + BigInt(offset)).toString(16)}+${size}`;
  if (act === 'allocate' || act === 'free') return `${act} ${entry.type} ${at}`;
  return act === 'map' || act === 'unmap' ? `${act} ${at} ${entry.direction}` : `${act} ${at}`;
}

/** `dma-debug device-wrote-unowned 0x1000+4` */
export function noteOfReport({ kind, address, size }: DmaReport): string {
  const at = address === undefined ? '' : ` 0x${address.toString(16)}+${size ?? 0}`;
  return `dma-debug ${kind}${at}`;
}

/** `interrupt MSI 0` */
export function noteOfInterrupt(wire: number): string {
  return wire === 0 ? 'interrupt INTx' : `interrupt MSI ${wire - 1}`;
}
