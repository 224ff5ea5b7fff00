/**
 * The interrupt of a UIO device (drivers/uio/uio.c). The file becomes readable when the device's count of interrupts
 * changes. The kernel driver leaves the line masked each time it fires, so the line behaves as INTx does: `rearm`
 * lets it fire again.
 */
import { describe } from '../arguments.ts';
import { closedError, DmaError, errnoName } from '../errors.ts';
import type { InterruptAccess, InterruptKind } from '../interrupts/access.ts';
import type { Handle, InterruptFunctions } from '../native/addon.ts';
import type { UioFunctions } from '../native/uio.ts';

type Native = Pick<InterruptFunctions, 'interruptClose' | 'interruptRef'> &
  Pick<UioFunctions, 'uioInterruptCreate'>;

/** The parts that differ between devices. */
export interface UioLine {
  /** The name of the node, e.g. `uio0`. */
  readonly node: string;
  /** The open device file, in non-blocking mode. The caller keeps owning it. */
  readonly fd: number;
  /** The number of interrupts until now, modulo 2^32. */
  count(): number;
  /** Let the line fire again. @throws DmaError EINVAL the device has no interrupt · ENODEV it is gone */
  rearm(): void;
}

/** The one interrupt of a UIO device. */
export class UioInterrupts implements InterruptAccess {
  readonly #native: Native;
  readonly #line: UioLine;
  #armed: Handle | undefined;
  #fail: (error: DmaError) => void = () => {};
  #closed = false;

  constructor(native: Native, line: UioLine) {
    this.#native = native;
    this.#line = line;
  }

  limit(kind: InterruptKind): number {
    return kind === 'intx' ? 1 : 0;
  }

  enable(
    kind: InterruptKind,
    vector: number,
    deliver: (count: number) => void,
    fail: (error: DmaError) => void = () => {},
  ): void {
    this.#check(kind, vector);
    const { node, fd } = this.#line;
    // The count is read before the watch begins, so that an interrupt in between is delivered.
    const seen = this.#line.count();
    const armed = this.#native.uioInterruptCreate(fd, seen, (count) =>
      count < 0 ? fail(gone(node, count)) : deliver(count),
    );
    if (armed < 0) throw notWatched(node, armed);
    try {
      this.#line.rearm();
    } catch (error) {
      this.#native.interruptClose(armed);
      throw error;
    }
    this.#armed = armed;
    this.#fail = fail;
  }

  disable(): void {
    if (this.#armed === undefined) return;
    this.#native.interruptClose(this.#armed);
    this.#armed = undefined;
  }

  unmaskIntx(): void {
    if (this.#closed) throw this.#closedError();
    this.#line.rearm();
  }

  trigger(): void {
    throw new DmaError('EOPNOTSUPP', 'UIO cannot raise an interrupt without the device', {
      remedy: 'let the device raise it',
    });
  }

  setRef(_kind: InterruptKind, _vector: number, ref: boolean): void {
    if (this.#armed !== undefined) this.#native.interruptRef(this.#armed, ref);
  }

  /** The device is gone: every wait fails with this error. */
  leave(error: DmaError): void {
    const armed = this.#armed !== undefined;
    this.close();
    if (armed) this.#fail(error);
  }

  /** Disarm. Calling it twice is harmless. */
  close(): void {
    this.disable();
    this.#closed = true;
  }

  #check(kind: InterruptKind, vector: number): void {
    if (this.#closed) throw this.#closedError();
    if (kind !== 'intx' || vector !== 0) {
      throw new DmaError('EINVAL', `${this.#line.node} has no ${String(kind)} vector ${describe(vector)}`, {
        remedy: 'UIO hands out one line, and no messages',
      });
    }
    if (this.#armed === undefined) return;
    throw new DmaError('EBUSY', `the interrupt of ${this.#line.node} is armed`, {
      remedy: 'disarm it first',
    });
  }

  #closedError(): DmaError {
    return closedError(this.#line.node);
  }
}

function gone(node: string, errno: number): DmaError {
  return new DmaError('ENODEV', `${node} has gone, and its interrupt with it (${errnoName(errno)})`, {
    syscall: 'read',
    remedy: 'close it; open it again when the device is back and its driver bound',
  });
}

function notWatched(node: string, errno: number): DmaError {
  const code = errnoName(errno);
  return new DmaError(code, `the interrupt of ${node} cannot be watched (${code})`, {
    syscall: 'epoll_ctl',
    remedy:
      code === 'EMFILE'
        ? 'raise the limit of open files (ulimit -n)'
        : `check that /dev/${node} is a UIO device`,
  });
}
