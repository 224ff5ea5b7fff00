/**
 * How the line of a UIO device is let fire again. Drivers with an irqcontrol function take a 1 written to the device
 * file. uio_pci_generic has none: it sets the Interrupt Disable bit of the function's command register
 * (Documentation/driver-api/uio-howto.rst, "Generic PCI UIO driver"), and the one who serviced the device clears it.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { DmaError, type ErrnoName } from '../errors.ts';
import { linkTarget } from '../files.ts';
import { UIO_CLASS } from './sysfs.ts';

export const GENERIC_PCI_DRIVER = 'uio_pci_generic';

/** Letting the line fire again, and what that holds open. */
export interface Rearm {
  /** @throws DmaError EINVAL the device has no interrupt · ENODEV it is gone */
  rearm(): void;
  close(): void;
}

/**
 * What this device's driver needs.
 * @param fd the open device file; it stays its owner's
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
    // No irqcontrol: such a line is let fire again through registers of the device, by its driver.
    if (code === 'ENOSYS') return;
    throw code === 'EIO' ? noInterrupt(node, cause) : gone(node, cause);
  }
}

/** Offsets in configuration space: the command register, and which line the function pulls. */
const COMMAND = 0x04;
const INTERRUPT_PIN = 0x3d;
const INTX_DISABLE = 1 << 10;

class ConfigRearm implements Rearm {
  readonly #node: string;
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(2);

  constructor(node: string, config: string) {
    this.#node = node;
    try {
      this.#fd = openSync(config, 'r+');
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code as ErrnoName;
      throw new DmaError(code === 'EACCES' ? code : 'ENODEV', `${config} cannot be opened`, {
        syscall: 'open',
        remedy:
          'run as root: interrupts of a PCI function are let fire again through its configuration space',
        cause,
      });
    }
  }

  /** All of the register at once: QEMU looks at the line again only when the lower byte is written, too. */
  rearm(): void {
    if (this.#read(INTERRUPT_PIN, 1) === 0) throw noInterrupt(this.#node);
    this.#bytes.writeUInt16LE(this.#read(COMMAND, 2) & ~INTX_DISABLE);
    try {
      writeSync(this.#fd, this.#bytes, 0, 2, COMMAND);
    } catch (cause) {
      throw gone(this.#node, cause);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #read(offset: number, width: 1 | 2): number {
    try {
      if (readSync(this.#fd, this.#bytes, 0, width, offset) === width)
        return this.#bytes.readUIntLE(0, width);
    } catch (cause) {
      throw gone(this.#node, cause);
    }
    throw gone(this.#node);
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

function gone(node: string, cause?: unknown): DmaError {
  return new DmaError('ENODEV', `${node} is gone`, {
    syscall: 'write',
    remedy: 'close it; open it again when the device is back and its driver bound',
    cause,
  });
}
