/**
 * Unmasking the interrupt line of a UIO device after it fired. If the kernel driver has an irqcontrol function, the
 * program writes a 1 to the device file. uio_pci_generic has none: it sets the Interrupt Disable bit of the
 * function's command register (Documentation/driver-api/uio-howto.rst, "Generic PCI UIO driver"), and the program
 * clears that bit after servicing the device.
 */
import { writeSync } from 'node:fs';
import { basename } from 'node:path';
import { ConfigFile } from '../config-file.ts';
import { DmaError } from '../errors.ts';
import { linkTarget } from '../files.ts';
import { UIO_CLASS } from './sysfs.ts';

export const GENERIC_PCI_DRIVER = 'uio_pci_generic';

/** Unmasks the line, and owns the files that it opened for that. */
export interface Rearm {
  /**
   * @throws DmaError EINVAL the device has no interrupt · ENODEV it is gone · EACCES the kernel forbids it (lockdown)
   */
  rearm(): void;
  close(): void;
}

/**
 * The way to unmask that the kernel driver of this device needs.
 * @param fd the open device file; the caller keeps owning it
 * @throws DmaError EACCES the function's configuration space may not be written
 */
export function rearmOf(node: string, fd: number, root = ''): Rearm {
  const device = `${root}${UIO_CLASS}/${node}/device`;
  const driver = linkTarget(`${device}/driver`);
  if (driver !== undefined && basename(driver) === GENERIC_PCI_DRIVER) {
    return new ConfigRearm(node, `${device}/config`);
  }
  return { rearm: () => writeOne(node, fd), close: () => {} };
}

const ONE = Uint8Array.from(new Uint8Array(Int32Array.of(1).buffer));

function writeOne(node: string, fd: number): void {
  try {
    writeSync(fd, ONE);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    // The kernel driver has no irqcontrol function: the user's driver unmasks the line through registers of the
    // device.
    if (code === 'ENOSYS') return;
    throw code === 'EIO' ? noInterrupt(node, cause) : gone(node, cause);
  }
}

/**
 * The command register of a PCI function, with the bit that masks INTx; and the register that tells which line the
 * function has.
 */
const COMMAND = 0x04;
const INTX_DISABLE = 1 << 10;
const INTERRUPT_PIN = 0x3d;

class ConfigRearm implements Rearm {
  readonly #node: string;
  readonly #config: ConfigFile;

  constructor(node: string, path: string) {
    this.#node = node;
    this.#config = new ConfigFile(path);
  }

  /** Writes the whole register, because QEMU looks at the line again only when the lower byte is written, too. */
  rearm(): void {
    if (this.#config.read(INTERRUPT_PIN, 1) === 0) throw noInterrupt(this.#node);
    this.#config.write(COMMAND, 2, this.#config.read(COMMAND, 2) & ~INTX_DISABLE);
  }

  close(): void {
    this.#config.close();
  }
}

function noInterrupt(node: string, cause?: unknown): DmaError {
  return new DmaError('EINVAL', `${node} has no interrupt`, {
    syscall: 'write',
    remedy:
      'give it one where its driver takes it from (the interrupts property of the device tree, or the ' +
      'firmware for a PCI function)',
    cause,
  });
}

function gone(node: string, cause: unknown): DmaError {
  return new DmaError('ENODEV', `${node} is gone`, {
    syscall: 'write',
    remedy: 'close it; open it again when the device is back and its driver bound',
    cause,
  });
}
