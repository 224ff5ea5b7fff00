/**
 * Resets of a function, and the state that they leave.
 *
 *      function   its registers are as after power-up (FLR, or the kernel's substitute for it)
 *      hot        its bus or slot, with every function on it
 *      power      D3hot to D0 of a function that loses its state there (No_Soft_Reset is 0)
 *
 * The kernel saves configuration space before each of them and restores it afterwards, including the messages of MSI
 * and MSI-X (pci_dev_save_and_disable, pci_restore_state; vfio_pci_set_power_state). It does not touch eventfds, so
 * interrupts that came before are still counted, and every vector is armed as before. Only INTx needs work here: it
 * may be masked for an interrupt that the driver will never service.
 */
import type { InterruptKind } from '../interrupts/access.ts';
import type { Interrupts } from '../interrupts/interrupt.ts';
import { decodeBits } from './bar.ts';
import type { ConfigSpace } from './config-space.ts';
import { PCI_COMMAND } from './header.ts';
import { Listeners } from './listeners.ts';
import { mayHaveReset, type PciTransport } from './transport.ts';

/** Ways in which a function is reset. */
export type ResetKind = 'function' | 'hot' | 'power';

/** The effect of a reset on a function, and the work that it leaves to the driver. */
export interface ResetReport {
  readonly kind: ResetKind;
  /** Addresses of all functions that were reset, this one first. */
  readonly functions: readonly string[];
  /** Vectors of this function, armed as before. The driver keeps using the same `Interrupt` objects. */
  readonly rearmed: readonly { readonly kind: InterruptKind; readonly vector: number }[];
  /** True if the function may start DMA, as before the reset. */
  readonly busMaster: boolean;
  /** The work that the driver has to do, in sentences. */
  readonly redo: readonly string[];
}

/** The resets of one function, and the reports of them. */
export class Resets {
  readonly #transport: PciTransport;
  readonly #config: ConfigSpace;
  readonly #interrupts: Interrupts;
  readonly #listeners = new Listeners<(report: ResetReport) => void>();

  constructor(transport: PciTransport, config: ConfigSpace, interrupts: Interrupts) {
    this.#transport = transport;
    this.#config = config;
    this.#interrupts = interrupts;
  }

  function(): ResetReport {
    this.#transport.reset();
    return this.recover('function', [this.#transport.address]);
  }

  hot(): ResetReport {
    try {
      return this.recover('hot', this.#transport.hotReset());
    } catch (error) {
      // The listeners have to start the device again in this case, too.
      if (mayHaveReset(error)) this.recover('hot', [this.#transport.address]);
      throw error;
    }
  }

  /** See `PciFunction.onReset`. */
  listen(listener: (report: ResetReport) => void): () => void {
    return this.#listeners.add(listener);
  }

  /** The function was reset: make it ready for its driver again. @param functions all functions that were reset */
  recover(kind: ResetKind, functions: readonly string[]): ResetReport {
    const decode = decodeBits(this.#transport.bars);
    const { command } = this.#config;
    if ((command & decode) !== decode) this.#config.command = command | decode;
    this.#transport.wasReset?.();
    const { armed } = this.#interrupts;
    for (const interrupt of armed) interrupt.unmask();
    const { address } = this.#transport;
    const busMaster = (command & PCI_COMMAND.master) !== 0;
    const report: ResetReport = {
      kind,
      functions: [address, ...functions.filter((other) => other !== address)],
      rearmed: armed.map((interrupt) => ({ kind: interrupt.kind, vector: interrupt.vector })),
      busMaster,
      redo: toDo(busMaster, armed.length > 0),
    };
    this.#listeners.tell(report);
    return report;
  }

  /** Remove all listeners. */
  close(): void {
    this.#listeners.clear();
  }
}

function toDo(busMaster: boolean, armed: boolean): string[] {
  return [
    'program the registers of the device: they are as after power-up',
    'give it its rings and buffers again: it knows no address any more; memory and mappings are as they were',
    armed
      ? 'enable interrupts in the registers of the device: the armed vectors wait for them'
      : 'arm interrupts when it needs them: none was',
    ...(busMaster ? [] : ['call setMaster(): bus mastering is off']),
  ];
}
