/**
 * A device on no bus that a program could ask, as its driver sees it: registers and an interrupt through UIO, and
 * memory that the program chose. Its parts are those of a PCI function, so a driver for `{ registers, interrupt, dma
 * }` takes either.
 */

import { closeSync } from 'node:fs';
import { describe } from '../arguments.ts';
import type { DmaDevice } from '../dma/device.ts';
import { closedError, DmaError, type ErrnoName, errnoName } from '../errors.ts';
import { Interrupt } from '../interrupts/interrupt.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { MappedRegisters } from '../registers/mapped.ts';
import type { Registers } from '../registers/registers.ts';
import { UioInterrupts } from './interrupts.ts';
import { type Rearm, rearmOf } from './rearm.ts';
import { eventCount, type UioFacts, type UioMap } from './sysfs.ts';

/** Remedies for the resources that can run out. */
const SCARCE: Partial<Record<ErrnoName, string>> = {
  EMFILE: 'raise the limit of open files (ulimit -n)',
  ENOMEM: 'free address space, or raise ulimit -v',
};

export interface PlatformDeviceParts {
  readonly native: Addon;
  readonly facts: UioFacts;
  /** The open device file; the device owns it from here on. */
  readonly fd: number;
  readonly dma: DmaDevice | undefined;
  readonly root: string;
}

/** An opened UIO device: its registers, its interrupt and its DMA. */
export class PlatformDevice {
  /** The name of its node in /dev, e.g. `uio0`. */
  readonly node: string;
  /** The name that its kernel driver gave it. */
  readonly name: string;
  /** The maps, by the index that `registers` takes. */
  readonly maps: readonly UioMap[];
  readonly #parts: PlatformDeviceParts;
  readonly #windows = new Map<number, { readonly window: Handle; readonly registers: Registers }>();
  #rearm: Rearm | undefined;
  #interrupt: Interrupt | undefined;
  #closed = false;

  /** @internal */
  constructor(parts: PlatformDeviceParts) {
    this.#parts = parts;
    this.node = parts.facts.node;
    this.name = parts.facts.name;
    this.maps = parts.facts.maps;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * The DMA API on the memory that the device was opened with.
   * @throws DmaError EINVAL it was opened without memory · ENODEV closed
   */
  get dma(): DmaDevice {
    this.#checkOpen();
    if (this.#parts.dma !== undefined) return this.#parts.dma;
    throw new DmaError('EINVAL', `${this.node} was opened without memory`, {
      remedy:
        'UIO knows of none: pass dma: { memory } with memory that has device addresses, e.g. of u-dma-buf',
    });
  }

  /**
   * Registers by the index of their map in /sys/class/uio/uioN/maps.
   * @throws DmaError EINVAL there is no such map · EIO it cannot be mapped · EMFILE, ENOMEM · ENODEV closed
   */
  registers(index = 0): Registers {
    this.#checkOpen();
    const open = this.#windows.get(index);
    if (open !== undefined) return open.registers;
    const map = this.maps.find((one) => one.index === index);
    if (map === undefined) throw this.#noMap(index);
    const window = this.#openWindow(map);
    const silence = 'the device may be gone, without clock or power, or not answer accesses of this width';
    const names = { name: `map ${index} of ${this.node}`, size: map.size, silence };
    const registers = new MappedRegisters(names, this.#parts.native, window);
    this.#windows.set(index, { window, registers });
    return registers;
  }

  /**
   * Its interrupt, armed on first use. The line is masked after each interrupt: call `unmask` after servicing.
   * @throws DmaError EINVAL it has no interrupt · EACCES the PCI function behind it may not be configured · ENODEV
   *   closed, gone
   */
  get interrupt(): Interrupt {
    this.#checkOpen();
    this.#interrupt ??= this.#arm();
    return this.#interrupt;
  }

  /**
   * Disarm the interrupt, free every view and mapping, and release the device. Nothing can stop this device from
   * outside, unlike a PCI function. So its driver must first bring it to rest through its registers. Calling it twice
   * is harmless.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { native, dma, fd } = this.#parts;
    try {
      this.#interrupt?.close();
      this.#rearm?.close();
      dma?.close();
    } finally {
      for (const { window } of this.#windows.values()) native.fileWindowClose(window);
      closeSync(fd);
    }
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #arm(): Interrupt {
    const { native, fd, root } = this.#parts;
    const { node } = this;
    this.#rearm ??= rearmOf(node, fd, root);
    const rearm = this.#rearm;
    const count = (): number => eventCount(node, root);
    const access = new UioInterrupts(native, { node, fd, count, rearm: () => rearm.rearm() });
    return new Interrupt(access, 'intx', 0, () => {
      this.#interrupt = undefined;
    });
  }

  /** Page K of the device file maps to map K. */
  #openWindow({ index, offset, size }: UioMap): Handle {
    const { native, fd } = this.#parts;
    const pageSize = native.pageSize();
    const window = native.fileWindowOpen(fd, index * pageSize, offset, size, true);
    if (window >= 0) return window;
    const code = errnoName(window);
    const scarce = SCARCE[code];
    throw new DmaError(
      scarce === undefined ? 'EIO' : code,
      `map ${index} of ${this.node} cannot be mapped (${code})`,
      {
        syscall: 'mmap',
        remedy:
          scarce ??
          'its driver must give it a page-aligned address and registers at a multiple of 8 in the page; ' +
            'the kernel log (dmesg) may say more',
      },
    );
  }

  #noMap(index: number): DmaError {
    const present = this.maps.map((map) => `${map.index}${map.name === '' ? '' : ` (${map.name})`}`);
    return new DmaError('EINVAL', `${this.node} has no map ${describe(index)}`, {
      remedy:
        present.length === 0
          ? 'it has none at all; registers of a PCI function are reached through openPciUnsafe'
          : `it has ${present.join(', ')}`,
    });
  }

  #checkOpen(): void {
    if (this.#closed) throw closedError(this.node);
  }
}
