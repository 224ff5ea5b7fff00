/**
 * The only error class of this library. `code` is the kernel's errno name, and `errno` its negated Linux number on
 * every OS. So a driver can be written against the kernel's documentation. The message ends with the remedy.
 */

/** The Linux numbers of the errno names that this library uses (include/uapi/asm-generic/errno*.h). */
const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  ERANGE: 34,
  ENOSYS: 38,
  EOVERFLOW: 75,
  EBADFD: 77,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  ETIMEDOUT: 110,
  EREMOTEIO: 121,
  ECANCELED: 125,
} as const;

/** The names of the error codes, as the kernel has them (docs/guide/troubleshooting.md). */
export type ErrnoName = keyof typeof ERRNO;

const NAME_OF = new Map<number, ErrnoName>(
  (Object.entries(ERRNO) as [ErrnoName, number][]).map(([name, number]) => [number, name]),
);

/** Options of a DmaError. */
export interface DmaErrorOptions {
  /** The remedy: an instruction to the reader, appended to the message after a semicolon. */
  readonly remedy?: string | undefined;
  /** The system call or ioctl that failed, e.g. `VFIO_IOMMU_MAP_DMA`. */
  readonly syscall?: string | undefined;
  readonly cause?: unknown;
}

/** The only error class of this library: an errno name, its number, and a message that ends with a remedy. */
export class DmaError extends Error {
  static {
    DmaError.prototype.name = 'DmaError';
  }

  /** errno name, e.g. `EIO`. */
  readonly code: ErrnoName;
  /** Negated Linux errno number, e.g. -5, as the kernel returns it. */
  readonly errno: number;
  readonly syscall: string | undefined;

  constructor(code: ErrnoName, message: string, options: DmaErrorOptions = {}) {
    // The constructor never throws, because the message of the error under construction would be lost.
    const { remedy, syscall, cause } = options ?? {};
    const words = typeof message === 'string' ? message : `a ${typeof message} instead of a message`;
    super(typeof remedy === 'string' ? `${words}; ${remedy}` : words, cause === undefined ? {} : { cause });
    this.code = typeof code === 'string' && Object.hasOwn(ERRNO, code) ? code : 'EIO';
    this.errno = -ERRNO[this.code];
    this.syscall = syscall;
  }
}

/** The name of an errno number of either sign; EIO for a number that this library does not know. */
export function errnoName(errno: number): ErrnoName {
  return NAME_OF.get(Math.abs(errno)) ?? 'EIO';
}

/** The error of a call on an object that was closed. @param what its name */
export function closedError(what: string): DmaError {
  return new DmaError('ENODEV', `${what} is closed`, { remedy: 'open it again' });
}

/** The error of every call on a function whose device is gone. @param what its name */
export function goneError(what: string): DmaError {
  return new DmaError('ENODEV', `${what} is gone`, {
    remedy: 'close the function, and open it again when the device is back',
  });
}

/**
 * Makes the error of a listener an uncaught exception, as from a timer, because the caller of the listener must
 * continue.
 */
export function throwUncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
