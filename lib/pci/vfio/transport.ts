/** One PCI function through VFIO (drivers/vfio/pci): configuration space, BARs, interrupts, reset. */
import { closedError, DmaError, type ErrnoName, errnoName, goneError } from '../../errors.ts';
import type { ReservedBytes } from '../../iommu/address-space.ts';
import { VfioWindow } from '../../iommu/vfio-window.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { VFIO_CONFIG_REGION, VFIO_ROM_REGION } from '../../native/vfio.ts';
import { type Bar, type BarInfo, decodeBits, reservedBytes } from '../bar.ts';
import type { MsixCapability } from '../capabilities/standard.ts';
import { answers, ConfigSpace } from '../config-space.ts';
import { PCI_BAR, PCI_BARS, PCI_COMMAND, PCI_HEADER } from '../header.ts';
import { MappedBar } from '../mapped-bar.ts';
import {
  type ConfigAccess,
  type FunctionEvents,
  mayHaveReset,
  type PciTransport,
  type RomAccess,
} from '../transport.ts';
import type { VfioGroup } from './group.ts';
import { hotReset, hotResetScope } from './hot-reset.ts';
import { VfioInterrupts } from './interrupts.ts';
import { VfioNotifications } from './notifications.ts';

/** The part of the group that the transport needs. */
export type GroupOfFunction = Pick<VfioGroup, 'release' | 'close' | 'elsewhere' | 'translates'>;

/** The transport of a function that is opened through VFIO. */
export class VfioTransport implements PciTransport {
  /** Open functions of this process by address. A hot reset finds the other functions that it hits here. */
  static readonly #open = new Map<string, VfioTransport>();

  readonly name = 'vfio';
  readonly restoresConfiguration = true;
  readonly address: string;
  readonly config: ConfigAccess;
  readonly bars: readonly (Bar | undefined)[];
  readonly interrupts: VfioInterrupts;
  readonly rom: RomAccess | undefined;
  readonly #native: Addon;
  readonly #device: Handle;
  readonly #group: GroupOfFunction;
  readonly #windows: VfioWindow[] = [];
  /** False from the time on that registers that are lent to other devices ceased to answer. */
  #answered = true;
  #notifications: VfioNotifications | undefined;
  #events: FunctionEvents | undefined;
  #closed = false;
  #gone: DmaError | undefined;

  /**
   * Afterwards the function decodes its BARs. Bus mastering is left as it was, off.
   * @param device this object owns it from here on, unless the constructor throws
   * @param group this object tells it when the device is released, and closes it
   * @throws DmaError ENODEV the device is gone · EIO configuration space does not answer · ENOMEM a BAR cannot be
   *   mapped
   */
  constructor(native: Addon, device: Handle, address: string, group: GroupOfFunction) {
    this.#native = native;
    this.#group = group;
    this.#device = device;
    this.address = address;
    // This comes before the first access of the device: if the device is already gone, the access closes the
    // interrupts, too.
    this.interrupts = new VfioInterrupts(native, device);
    this.config = new VfioConfig(native, device, address, {
      gone: () => this.#gone,
      leave: () => this.leave(),
      written: () => this.#checkWindows(),
    });
    const { msix } = new ConfigSpace(this.config);
    this.bars = Array.from({ length: PCI_BARS }, (_, index) => this.#openBar(index, msix));
    this.rom = this.#openRom();
    this.#enableDecode();
  }

  reset(): void {
    if (this.#gone !== undefined) throw this.#gone;
    const result = this.#native.vfioDeviceReset(this.#device);
    if (result >= 0) return;
    this.#checkThere();
    const { code, remedy } = resetFailure(errnoName(result));
    throw new DmaError(code, `${this.address} was not reset`, { syscall: 'VFIO_DEVICE_RESET', remedy });
  }

  hotReset(): readonly string[] {
    if (this.#gone !== undefined) throw this.#gone;
    if (this.#closed) throw closedError(this.address);
    let functions: readonly string[] = [];
    try {
      functions = hotResetScope(this.#native, this.#device, this.address, (id) => this.#group.elsewhere(id));
      hotReset(this.#native, this.#device, this.address, functions);
    } catch (error) {
      if (mayHaveReset(error)) this.#tellOthers(functions);
      this.#checkThere();
      throw error;
    }
    this.#tellOthers(functions);
    return functions;
  }

  /**
   * Called after a reset failed. For a device that was pulled out, the kernel returns many different errors.
   * @throws DmaError ENODEV gone
   */
  #checkThere(): void {
    if (this.#closed || answers(this.config)) return;
    this.leave();
    throw this.#gone!;
  }

  #tellOthers(functions: readonly string[]): void {
    for (const address of functions) {
      const other = VfioTransport.#open.get(address);
      if (other !== undefined && other !== this) other.#events?.reset(functions);
    }
  }

  watch(events: FunctionEvents): void {
    this.#events = events;
    VfioTransport.#open.set(this.address, this);
    this.#notifications = new VfioNotifications(this.#native, this.#device, events);
  }

  wasReset(): void {
    for (const window of this.#windows) window.answer();
  }

  /** Configuration space was written: registers may have ceased to answer, or answer again. */
  #checkWindows(): void {
    if (!this.#windows.some((window) => window.isRevocable)) {
      this.#answered = true;
      return;
    }
    const { command, powerManagement } = new ConfigSpace(this.config);
    const answers = (command & PCI_COMMAND.memory) !== 0 && (powerManagement?.state ?? 'D0') === 'D0';
    if (answers && !this.#answered) this.wasReset();
    this.#answered = answers;
  }

  /** The kernel stops the device when its file closes. The removal of the device waits until then. */
  leave(): void {
    if (this.#closed || this.#gone !== undefined) return;
    const error = goneError(this.address);
    this.#gone = error;
    this.#notifications?.close();
    this.interrupts.leave(error);
    this.#letGo();
    this.#events?.gone(error);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#gone === undefined) {
      this.#notifications?.close();
      this.interrupts.close();
      this.#letGo();
    }
    this.#group.close();
  }

  #letGo(): void {
    VfioTransport.#open.delete(this.address);
    this.#native.vfioDeviceClose(this.#device);
    this.#group.release(this.address);
  }

  #openRom(): RomAccess | undefined {
    const size = this.#native.vfioRegionSize(this.#device, VFIO_ROM_REGION);
    if (size <= 0) return undefined;
    const read = (): Uint8Array => {
      const bytes = new Uint8Array(size);
      const result = this.#native.vfioRegionReadBytes(this.#device, VFIO_ROM_REGION, 0, bytes.buffer);
      if (result >= 0) return bytes;
      if (this.#gone !== undefined) throw this.#gone;
      if (errnoName(result) === 'EBADF') throw closedError(this.address);
      throw new DmaError('EIO', `the ROM of ${this.address} does not answer (${errnoName(result)})`, {
        syscall: 'pread',
        remedy: 'it needs power state D0; the device may be gone',
      });
    };
    return { size, read };
  }

  #openBar(index: number, msix: MsixCapability | undefined): Bar | undefined {
    const size = this.#native.vfioRegionSize(this.#device, index);
    if (size <= 0) return undefined; // The BAR is absent, or is the upper half of a 64-bit BAR.
    const window = this.#native.vfioBarOpen(this.#device, index);
    if (window < 0) {
      throw new DmaError(
        errnoName(window),
        `${this.address}: BAR ${index} (${size} bytes) cannot be mapped`,
        {
          syscall: 'mmap',
          remedy: 'free address space, or raise ulimit -v',
        },
      );
    }
    const reserved = reservedBytes(msix, index);
    for (const { start, end, readable } of reserved) {
      this.#native.mmioReserve(window, start, Math.min(end, size) - start, readable);
    }
    const info = this.#barInfo(index, size, reserved);
    const reachable = info.kind === 'memory' && this.#group.translates;
    const forDma = reachable ? new VfioWindow(size, window, reserved) : undefined;
    if (forDma !== undefined) this.#windows.push(forDma);
    return new MappedBar(info, this.#native, window, forDma);
  }

  #barInfo(index: number, size: number, reserved: readonly ReservedBytes[]): BarInfo {
    const value = this.config.read(PCI_HEADER.bar0 + 4 * index, 4);
    const io = (value & PCI_BAR.io) !== 0;
    return {
      index,
      size,
      kind: io ? 'io' : 'memory',
      is64Bit: !io && (value & PCI_BAR.is64Bit) !== 0,
      prefetchable: !io && (value & PCI_BAR.prefetchable) !== 0,
      ...(reserved.length > 0 && { reserved }),
    };
  }

  /** VFIO leaves the command register as it was, and an access to a BAR that is not decoded ends in a bus error. */
  #enableDecode(): void {
    const command = this.config.read(PCI_HEADER.command, 2);
    const wanted = command | decodeBits(this.bars);
    if (wanted !== command) this.config.write(PCI_HEADER.command, 2, wanted);
  }
}

/** What the transport wants to know of accesses, and what it tells: the state of a device that may be going. */
interface Going {
  gone(): DmaError | undefined;
  leave(): void;
  /** Configuration space was written. */
  written(): void;
}

class VfioConfig implements ConfigAccess {
  readonly size: number;
  readonly #native: Addon;
  readonly #device: Handle;
  readonly #address: string;
  readonly #going: Going;

  constructor(native: Addon, device: Handle, address: string, going: Going) {
    this.#native = native;
    this.#device = device;
    this.#address = address;
    this.#going = going;
    this.size = this.#checked(native.vfioRegionSize(device, VFIO_CONFIG_REGION));
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return this.#checked(this.#native.vfioRegionRead(this.#device, VFIO_CONFIG_REGION, offset, width));
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#checked(this.#native.vfioRegionWrite(this.#device, VFIO_CONFIG_REGION, offset, width, value));
    this.#going.written();
  }

  #checked(result: number): number {
    if (result >= 0) return result;
    const code = errnoName(result);
    // The errors that the kernel returns for a device that was pulled out.
    if (code === 'ENODEV') this.#going.leave();
    const gone = this.#going.gone();
    if (gone !== undefined) throw gone;
    const closed = code === 'EBADF';
    const what = closed ? 'is closed' : `configuration space failed (${code})`;
    throw new DmaError(closed ? 'ENODEV' : 'EIO', `${this.#address} ${what}`, {
      remedy: closed ? 'open it again' : 'the device may be gone or asleep: reset it or open it again',
    });
  }
}

function resetFailure(code: ErrnoName): { code: ErrnoName; remedy: string } {
  switch (code) {
    case 'EINVAL':
    case 'ENOTTY':
      return {
        code: 'EOPNOTSUPP',
        remedy: 'it has no reset of its own: use registers of the device, or close it',
      };
    case 'EAGAIN':
      return { code, remedy: 'it is busy: try again' };
    case 'EBADF':
      return { code: 'ENODEV', remedy: 'it is closed: open it again' };
    default:
      return { code, remedy: 'the device may be gone; the kernel log (dmesg) may say why' };
  }
}
