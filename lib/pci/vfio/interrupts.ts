/**
 * Interrupts through VFIO (VFIO_DEVICE_SET_IRQS). Only one kind is on at a time. It is turned off with its last vector.
 *
 *      the kernel can add vectors (MSI-X since Linux 6.5)   each vector is added when it is armed
 *      it cannot (VFIO_IRQ_INFO_NORESIZE)                   the first armed vector turns on all, without eventfds
 */
import { describe } from '../../arguments.ts';
import { DmaError, errnoName } from '../../errors.ts';
import type { InterruptAccess, InterruptKind } from '../../interrupts/access.ts';
import { Vectors } from '../../interrupts/vectors.ts';
import type { Handle, InterruptFunctions } from '../../native/addon.ts';
import { VFIO_IRQ, type VfioFunctions } from '../../native/vfio.ts';

type Native = InterruptFunctions &
  Pick<
    VfioFunctions,
    'vfioIrqCount' | 'vfioIrqResizable' | 'vfioIrqArm' | 'vfioIrqTrigger' | 'vfioIrqOff' | 'vfioIrqUnmask'
  >;

interface Armed {
  readonly interrupt: Handle;
  readonly fail: (error: DmaError) => void;
}

/** The interrupts of a function that is opened through VFIO. */
export class VfioInterrupts implements InterruptAccess {
  readonly #native: Native;
  readonly #device: Handle;
  readonly #limits: Readonly<Record<InterruptKind, number>>;
  readonly #armed = new Vectors<Armed>();
  #kind: InterruptKind | undefined;
  /** The number of vectors that the system granted to the active kind. */
  #granted = 0;
  #closed = false;
  #gone: DmaError | undefined;

  constructor(native: Native, device: Handle) {
    this.#native = native;
    this.#device = device;
    const limit = (kind: InterruptKind): number => Math.max(0, native.vfioIrqCount(device, VFIO_IRQ[kind]));
    this.#limits = { intx: limit('intx'), msi: limit('msi'), msix: limit('msix') };
  }

  limit(kind: InterruptKind): number {
    return this.#limits[kind] ?? 0;
  }

  enable(
    kind: InterruptKind,
    vector: number,
    deliver: (count: number) => void,
    fail: (error: DmaError) => void = () => {},
  ): void {
    this.#checkFree(kind, vector);
    const interrupt = this.#native.interruptCreate(deliver);
    if (interrupt < 0) throw failed(kind, interrupt, 'eventfd');
    try {
      if (this.#kind === undefined) this.#turnOn(kind);
      if (vector >= this.#granted) throw tooFew(kind, vector, this.#granted);
      this.#arm(kind, vector, 1, interrupt);
      this.#armed.set(vector, { interrupt, fail });
    } catch (error) {
      this.#native.interruptClose(interrupt);
      this.#turnOffWhenIdle();
      throw error;
    }
  }

  disable(kind: InterruptKind, vector: number): void {
    const armed = this.#kind === kind ? this.#armed.get(vector) : undefined;
    if (armed === undefined) return;
    this.#armed.delete(vector);
    // A device that is gone cannot be told any more. Without the eventfd no interrupt is delivered in either
    // case.
    if (this.#armed.size > 0) this.#native.vfioIrqArm(this.#device, VFIO_IRQ[kind], vector, 1, 0);
    this.#turnOffWhenIdle();
    this.#native.interruptClose(armed.interrupt);
  }

  unmaskIntx(): void {
    this.#checkOpen();
    if (this.#kind !== 'intx') {
      throw new DmaError('EINVAL', 'INTx is not armed', { remedy: 'arm it before unmasking it' });
    }
    const result = this.#native.vfioIrqUnmask(this.#device, VFIO_IRQ.intx);
    if (result < 0) throw failed('intx', result);
  }

  trigger(kind: InterruptKind, vector: number): void {
    this.#checkOpen();
    if (this.#kind !== kind || !this.#armed.has(vector)) throw notArmed(kind, vector);
    const result = this.#native.vfioIrqTrigger(this.#device, VFIO_IRQ[kind], vector);
    if (result < 0) throw failed(kind, result);
  }

  setRef(kind: InterruptKind, vector: number, ref: boolean): void {
    const armed = this.#kind === kind ? this.#armed.get(vector) : undefined;
    if (armed !== undefined) this.#native.interruptRef(armed.interrupt, ref);
  }

  /** The device is gone: no interrupt is delivered any more, and every wait fails with this error. */
  leave(error: DmaError): void {
    this.#gone = error;
    const armed = this.#armed.values;
    this.close();
    for (const { fail } of armed) fail(error);
  }

  /** Disarm all vectors. Calling it twice is harmless. */
  close(): void {
    this.#closed = true;
    const kind = this.#kind;
    if (kind === undefined) return;
    for (const vector of this.#armed.numbers) this.disable(kind, vector);
  }

  #checkFree(kind: InterruptKind, vector: number): void {
    this.#checkOpen();
    const limit = this.limit(kind);
    if (!Number.isInteger(vector) || vector < 0 || vector >= limit) {
      throw new DmaError('EINVAL', `no ${String(kind)} vector ${describe(vector)}`, {
        remedy: limit === 0 ? `the function has no ${String(kind)}` : `it has vectors 0 to ${limit - 1}`,
      });
    }
    if (this.#kind !== undefined && this.#kind !== kind) {
      throw new DmaError('EBUSY', `${kind} cannot be armed while ${this.#kind} is`, {
        remedy: `disarm every ${this.#kind} vector first: a function uses one kind at a time`,
      });
    }
    if (this.#armed.has(vector)) {
      throw new DmaError('EBUSY', `${kind} vector ${vector} is armed already`, { remedy: 'disarm it first' });
    }
  }

  #checkOpen(): void {
    if (this.#gone !== undefined) throw this.#gone;
    if (this.#closed) throw new DmaError('ENODEV', 'the function is closed', { remedy: 'open it again' });
  }

  #turnOn(kind: InterruptKind): void {
    this.#granted = this.#grantedOf(kind);
    this.#kind = kind;
  }

  #grantedOf(kind: InterruptKind): number {
    // INTx has one vector, and it is on as soon as it has an eventfd.
    if (kind === 'intx') return 1;
    const limit = this.limit(kind);
    if (this.#native.vfioIrqResizable(this.#device, VFIO_IRQ[kind]) !== 1) return this.#allocate(kind, limit);
    // The kind cannot be on without a vector. Vectors that are not armed cost the system nothing in this case.
    this.#allocate(kind, 1);
    return limit;
  }

  /**
   * Allocates up to `wanted` vectors. If the number is too large, the kernel answers with the number that it can
   * give.
   */
  #allocate(kind: InterruptKind, wanted: number): number {
    const available = this.#arm(kind, 0, wanted, 0);
    return available === 0 ? wanted : this.#allocate(kind, Math.min(available, wanted - 1));
  }

  #arm(kind: InterruptKind, start: number, count: number, interrupt: Handle): number {
    const result =
      count === 0 ? ENOSPC : this.#native.vfioIrqArm(this.#device, VFIO_IRQ[kind], start, count, interrupt);
    if (result < 0) throw failed(kind, result);
    return result;
  }

  #turnOffWhenIdle(): void {
    if (this.#kind === undefined || this.#armed.size > 0) return;
    this.#native.vfioIrqOff(this.#device, VFIO_IRQ[this.#kind]);
    this.#kind = undefined;
    this.#granted = 0;
  }
}

function notArmed(kind: InterruptKind, vector: number): DmaError {
  return new DmaError('EINVAL', `${kind} vector ${describe(vector)} is not armed`, {
    remedy: 'arm it first',
  });
}

/** -ENOSPC, as a native function would return it. */
const ENOSPC = -28;

function tooFew(kind: InterruptKind, vector: number, granted: number): DmaError {
  return new DmaError('ENOSPC', `no ${kind} vector ${vector}: the system granted ${granted}`, {
    remedy: `use vectors 0 to ${granted - 1}`,
  });
}

function failed(kind: InterruptKind, errno: number, syscall = 'VFIO_DEVICE_SET_IRQS'): DmaError {
  const code = errnoName(errno) === 'EBADF' ? 'ENODEV' : errnoName(errno);
  const remedies: Partial<Record<string, string>> = {
    ENODEV: 'the function is closed or the device is gone: open it again',
    EMFILE: 'raise the limit of open files (ulimit -n)',
    ENOSPC: 'the system has no interrupt vectors left: disarm some of other functions',
  };
  return new DmaError(code, `${kind} cannot be set (${code})`, {
    syscall,
    remedy: remedies[code] ?? 'the kernel log (dmesg) may say why',
  });
}
