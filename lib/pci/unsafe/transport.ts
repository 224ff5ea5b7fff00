/**
 * One PCI function through the files of /sys (drivers/pci/pci-sysfs.c): configuration space, BARs by mmap of
 * resourceN, and the kernel's reset. Its interrupt comes from uio_pci_generic, if the function is bound to it.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path';
import { ConfigFile } from '../../config-file.ts';
import { closedError, DmaError, type ErrnoName, errnoName, goneError } from '../../errors.ts';
import { listFolder } from '../../files.ts';
import type { InterruptAccess } from '../../interrupts/access.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { UioInterrupts } from '../../uio/interrupts.ts';
import { openUioNode } from '../../uio/node.ts';
import { rearmOf } from '../../uio/rearm.ts';
import { eventCount } from '../../uio/sysfs.ts';
import type { Bar } from '../bar.ts';
import { DEVICES } from '../facts.ts';
import { PCI_COMMAND, PCI_HEADER } from '../header.ts';
import { MappedBar } from '../mapped-bar.ts';
import type { FunctionEvents, PciTransport, RomAccess } from '../transport.ts';
import { type BarResource, readResources } from './resources.ts';

/** The interrupts of a function without uio_pci_generic. */
const NO_INTERRUPTS: InterruptAccess = {
  limit: () => 0,
  enable: (kind) => {
    throw new DmaError('EINVAL', `no ${kind} without a kernel driver that hands it out`, {
      remedy:
        'bind the function to vfio-pci where VFIO runs without an IOMMU, to uio_pci_generic for INTx, or poll',
    });
  },
  disable: () => {},
  unmaskIntx: () => {},
  trigger: () => {},
  setRef: () => {},
};

/** The transport of a function that is opened through sysfs, without VFIO. */
export class SysfsTransport implements PciTransport {
  readonly name = 'sysfs';
  readonly restoresConfiguration = false;
  readonly address: string;
  readonly config: ConfigFile;
  readonly bars: readonly (Bar | undefined)[];
  readonly interrupts: InterruptAccess;
  readonly rom: RomAccess | undefined;
  readonly #native: Addon;
  readonly #folder: string;
  /** The undo steps, in the order of the steps that they undo. */
  readonly #undo: (() => void)[] = [];
  #events: FunctionEvents | undefined;
  #closed = false;

  /**
   * Afterwards the function decodes its BARs, and bus mastering is off.
   * @throws DmaError EACCES, EPERM not root · ENODEV it is gone · EIO a file of the function makes no sense ·
   *   EINVAL, ENOMEM a BAR cannot be mapped
   */
  constructor(native: Addon, address: string, root = '') {
    this.#native = native;
    this.address = address;
    this.#folder = `${root}${DEVICES}/${address}`;
    try {
      this.config = new ConfigFile(`${this.#folder}/config`);
      this.#undo.push(() => this.config.close());
      this.interrupts = this.#openInterrupts(root);
      this.rom = this.#openRom();
      const resources = readResources(this.#folder);
      this.#enable(resources);
      this.bars = resources.map((resource) => resource && this.#openBar(resource));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  reset(): void {
    if (this.#closed) {
      throw closedError(this.address);
    }
    try {
      // Without O_CREAT: the file does not exist for a function that cannot be reset.
      writeFileSync(`${this.#folder}/reset`, '1', { flag: 'r+' });
    } catch (cause) {
      throw this.#notReset(cause);
    }
  }

  /** The files of /sys report no events. */
  watch(events: FunctionEvents): void {
    this.#events = events;
  }

  leave(): void {
    if (this.#closed) return;
    const error = goneError(this.address);
    if (this.interrupts instanceof UioInterrupts) this.interrupts.leave(error);
    this.close();
    this.#events?.gone(error);
  }

  hotReset(): never {
    if (this.#closed) throw closedError(this.address);
    throw new DmaError('EOPNOTSUPP', `${this.address} cannot be reset with its bus from here`, {
      remedy: 'open it through VFIO, with or without an IOMMU, or reset the function alone',
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const undo of this.#undo.reverse()) undo();
  }

  /**
   * The device file stays open as long as the function, because the kernel clears bus mastering when the file
   * closes.
   */
  #openInterrupts(root: string): InterruptAccess {
    const node = listFolder(`${this.#folder}/uio`)[0];
    if (node === undefined) return NO_INTERRUPTS;
    const fd = openUioNode(node, root);
    this.#undo.push(() => closeSync(fd));
    const rearm = rearmOf(node, fd, root);
    this.#undo.push(() => rearm.close());
    const count = (): number => eventCount(node, root);
    const interrupts = new UioInterrupts(this.#native, { node, fd, count, rearm: () => rearm.rearm() });
    this.#undo.push(() => interrupts.close());
    return interrupts;
  }

  /**
   * A function that no driver has enabled does not decode its BARs. The last driver may have left the function
   * like that, too, or with bus mastering on.
   */
  #enable(resources: readonly (BarResource | undefined)[]): void {
    if (!this.#bound()) {
      this.#writeEnable('1');
      this.#undo.push(() => this.#writeEnable('0'));
    }
    const command = this.config.read(PCI_HEADER.command, 2);
    let wanted = command & ~PCI_COMMAND.master;
    for (const resource of resources) {
      if (resource !== undefined) wanted |= PCI_COMMAND[resource.info.kind];
    }
    if (wanted !== command) this.config.write(PCI_HEADER.command, 2, wanted);
  }

  /** The file reads as empty until a 1 is written to it (Documentation/ABI/testing/sysfs-bus-pci). */
  #openRom(): RomAccess | undefined {
    const path = `${this.#folder}/rom`;
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size === 0) return undefined;
    const read = (): Uint8Array => {
      if (this.#closed) throw closedError(this.address);
      try {
        writeFileSync(path, '1', { flag: 'r+' });
        try {
          return new Uint8Array(readFileSync(path));
        } finally {
          writeFileSync(path, '0', { flag: 'r+' });
        }
      } catch (cause) {
        const code = codeOf(cause);
        const remedy = code === 'EACCES' || code === 'EPERM' ? 'run as root' : 'the device may be gone';
        throw new DmaError(code, `the ROM of ${this.address} cannot be read (${code})`, { remedy, cause });
      }
    };
    return { size, read };
  }

  #bound(): boolean {
    try {
      return basename(readlinkSync(`${this.#folder}/driver`)) !== '';
    } catch {
      return false;
    }
  }

  #writeEnable(value: '0' | '1'): void {
    try {
      writeFileSync(`${this.#folder}/enable`, value, { flag: 'r+' });
    } catch (cause) {
      // The function is already gone, so a failure to switch it off is no error.
      if (value === '0') return;
      const code = codeOf(cause);
      throw new DmaError(code, `${this.address} cannot be enabled (${code})`, {
        syscall: 'write',
        remedy: code === 'EACCES' || code === 'EPERM' ? 'run as root' : 'the kernel log (dmesg) may say why',
        cause,
      });
    }
  }

  #notReset(cause: unknown): DmaError {
    const { code } = cause as NodeJS.ErrnoException;
    const fail = (name: ErrnoName, remedy: string): DmaError =>
      new DmaError(name, `${this.address} was not reset (${code})`, { syscall: 'write', remedy, cause });
    if (code === 'EACCES' || code === 'EPERM') return fail('EACCES', 'run as root');
    if (code === 'ENODEV' || !existsSync(this.#folder))
      return fail('ENODEV', 'the function is gone: close it');
    if (code === 'ENOENT' || code === 'ENOTTY') {
      return fail('EOPNOTSUPP', 'it has no reset of its own: use registers of the device');
    }
    return fail('EAGAIN', 'it is busy: try again');
  }

  /** A BAR smaller than a page may start anywhere within the mapped page. I/O ports cannot be mapped. */
  #openBar({ info, start }: BarResource): Bar {
    const path = `${this.#folder}/resource${info.index}`;
    const inPage = info.kind === 'io' ? 0 : Number(start % BigInt(this.#native.pageSize()));
    const fd = this.#openResource(path);
    let window: Handle;
    try {
      window = this.#native.fileWindowOpen(fd, 0, inPage, info.size, info.kind === 'memory');
    } finally {
      closeSync(fd);
    }
    if (window < 0) throw noBar(path, errnoName(window));
    this.#undo.push(() => this.#native.fileWindowClose(window));
    return new MappedBar(info, this.#native, window);
  }

  #openResource(path: string): number {
    try {
      return openSync(path, 'r+');
    } catch (cause) {
      throw noBar(path, codeOf(cause));
    }
  }
}

/** The error code for a file of the function. If the file is missing, the function is gone. */
function codeOf(cause: unknown): ErrnoName {
  const code = errnoName((cause as NodeJS.ErrnoException).errno ?? 0);
  return code === 'ENOENT' ? 'ENODEV' : code;
}

function noBar(path: string, code: ErrnoName): DmaError {
  const remedies: Partial<Record<string, string>> = {
    EACCES: 'run as root',
    EPERM: 'under Secure Boot the kernel forbids this (lockdown): switch it off, or use VFIO',
    EINVAL: 'a kernel driver holds these registers (CONFIG_IO_STRICT_DEVMEM): unbind it',
    EMFILE: 'raise the limit of open files (ulimit -n)',
    ENOMEM: 'free address space, or raise ulimit -v',
  };
  return new DmaError(code, `${path} cannot be mapped (${code})`, {
    syscall: 'mmap',
    remedy: remedies[code] ?? 'the kernel log (dmesg) may say why',
  });
}
