/**
 * The events of a function that the kernel signals by eventfds (vfio_pci_core.c). ERR is an error of PCI Express
 * that the kernel could not correct. REQ tells that the kernel wants the function back and waits until its file
 * is closed; the kernel repeats REQ every ten seconds.
 */
import { DmaError, errnoName } from '../../errors.ts';
import type { Handle, InterruptFunctions } from '../../native/addon.ts';
import { VFIO_IRQ, type VfioFunctions } from '../../native/vfio.ts';
import type { FunctionEvents } from '../transport.ts';

type Native = InterruptFunctions & Pick<VfioFunctions, 'vfioIrqCount' | 'vfioIrqArm'>;

/** The error and the release request that VFIO signals to a function's driver. */
export class VfioNotifications {
  readonly #native: Native;
  readonly #device: Handle;
  readonly #armed: Handle[] = [];

  /**
   * Reports from here on. A function or a kernel that lacks one of the two events never reports it.
   * @throws DmaError EMFILE no descriptor is left for it: a removal of the device would wait for ever
   */
  constructor(native: Native, device: Handle, events: FunctionEvents) {
    this.#native = native;
    this.#device = device;
    try {
      this.#arm(VFIO_IRQ.error, () => events.error());
      this.#arm(VFIO_IRQ.request, () => events.releaseRequest());
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Calling it twice is harmless. */
  close(): void {
    // The kernel drops its end when the device file closes.
    for (const interrupt of this.#armed.splice(0)) this.#native.interruptClose(interrupt);
  }

  #arm(kind: number, deliver: () => void): void {
    if (this.#native.vfioIrqCount(this.#device, kind) <= 0) return;
    const interrupt = this.#native.interruptCreate(deliver);
    if (interrupt < 0) {
      throw new DmaError(errnoName(interrupt), 'the kernel cannot tell when it wants the function back', {
        syscall: 'eventfd',
        remedy: 'raise the limit of open files (ulimit -n)',
      });
    }
    this.#native.interruptRef(interrupt, false);
    if (this.#native.vfioIrqArm(this.#device, kind, 0, 1, interrupt) === 0) this.#armed.push(interrupt);
    else this.#native.interruptClose(interrupt);
  }
}
