/**
 * The configuration space of a PCI function as a file of /sys (`config` in the folder of the function). Each access
 * is one pread or pwrite of its width.
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { DmaError } from './errors.ts';

/** The kernel shows so many bytes to every user. It shows the rest only to administrators. */
const SHOWN_TO_ALL = 64;
const GONE = 'the function is gone: close it';

/** The configuration space of a function, through its file in /sys. */
export class ConfigFile {
  /** Bytes: 256 or 4096. */
  readonly size: number;
  readonly #path: string;
  readonly #fd: number;
  readonly #word = Buffer.alloc(4);
  #closed = false;

  /** @throws DmaError EACCES not root · ENODEV the function is gone */
  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openSync(path, 'r+');
    } catch (cause) {
      throw failed(path, 'open', cause);
    }
    this.size = fstatSync(this.#fd).size;
  }

  /** Little-endian. @throws DmaError EACCES, ENODEV, EIO */
  read(offset: number, width: 1 | 2 | 4): number {
    const end = offset + width;
    if (this.#transfer(readSync, 'read', offset, width) === width) return this.#word.readUIntLE(0, width);
    const isHidden = end > SHOWN_TO_ALL;
    throw new DmaError(isHidden ? 'EACCES' : 'ENODEV', `${this.#path} ends before byte ${end}`, {
      syscall: 'read',
      remedy: isHidden ? 'run as root, or with CAP_SYS_ADMIN' : GONE,
    });
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#word.writeUIntLE(value, 0, width);
    this.#transfer(writeSync, 'write', offset, width);
  }

  /** Calling it twice is harmless. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }

  #transfer(move: Transfer, syscall: string, offset: number, width: number): number {
    if (this.#closed) {
      throw new DmaError('ENODEV', `${this.#path} is closed`, { remedy: 'open the function again' });
    }
    try {
      return move(this.#fd, this.#word, 0, width, offset);
    } catch (cause) {
      throw failed(this.#path, syscall, cause);
    }
  }
}

type Transfer = (fd: number, bytes: Buffer, from: number, length: number, position: number) => number;

function failed(path: string, syscall: string, cause: unknown): DmaError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM') {
    return new DmaError('EACCES', `${path} may not be written`, {
      syscall,
      remedy: 'run as root; under Secure Boot the kernel may forbid it to root as well (lockdown)',
      cause,
    });
  }
  const gone = code === 'ENODEV' || code === 'ENOENT';
  return new DmaError(gone ? 'ENODEV' : 'EIO', `${path} does not answer (${code})`, {
    syscall,
    remedy: gone ? GONE : 'reset the function, or open it again',
    cause,
  });
}
