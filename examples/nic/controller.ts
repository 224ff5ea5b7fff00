/** The registers of the 82574, except those of its rings: reset, setup, interrupts, EEPROM, link. */
import { type Bar, DmaError } from '../../lib/index.ts';
import {
  ADDRESS_VALID,
  CAUSE,
  CONTROL,
  CONTROL_EXTENDED,
  EEPROM,
  EEPROM_CONTROL,
  RECEIVE_CONTROL,
  REGISTER,
  STATUS,
  TRANSMIT_CONTROL,
  VECTOR,
} from './registers.ts';

/** MSI-X vectors of the two causes. */
export const RECEIVE_VECTOR = 0;
export const TRANSMIT_VECTOR = 1;

/**
 * The number of reads of a register before the driver gives up. It is enough for microseconds, and for the
 * milliseconds of a reset.
 */
const PATIENCE = 100_000;
const ALL = 0xffff_ffff;

/** Every method throws DmaError ENODEV if the function is closed, or the device is gone. */
export class Controller {
  readonly #registers: Bar;
  /** The name of the function, for messages. */
  readonly #name: string;

  constructor(registers: Bar, name: string) {
    this.#registers = registers;
    this.#name = name;
  }

  /**
   * Turns off interrupts and DMA, then resets ("Software Reset", "Master Disable"). The driver writes every register
   * that matters at the start nevertheless: QEMU before 8.0 only restores the MAC address.
   * @throws DmaError EIO the reset does not end
   */
  halt(): void {
    const registers = this.#registers;
    registers.write32(REGISTER.interruptMaskClear, ALL);
    registers.write32(REGISTER.receiveControl, 0);
    registers.write32(REGISTER.transmitControl, TRANSMIT_CONTROL.padShort);
    registers.write32(REGISTER.control, registers.read32(REGISTER.control) | CONTROL.masterDisable);
    this.#until(REGISTER.status, STATUS.masterEnabled, 0, 'the last DMA');
    registers.write32(REGISTER.control, CONTROL.reset);
    this.#until(REGISTER.control, CONTROL.reset, 0, 'the reset');
    const { autoReadDone } = EEPROM_CONTROL;
    this.#until(REGISTER.eepromControl, autoReadDone, autoReadDone, 'reading the EEPROM');
    registers.write32(REGISTER.interruptMaskClear, ALL);
    registers.write32(REGISTER.interruptCause, ALL);
  }

  /** Sets up everything that comes before the rings ("Software Initialization Sequence"). */
  configure(loopback: boolean): void {
    const forced = loopback ? CONTROL.forceSpeed | CONTROL.forceDuplex | CONTROL.speed1000 : 0;
    const { relaxedOrderingDisable, driverLoaded, clearPending } = CONTROL_EXTENDED;
    const vectors =
      ((RECEIVE_VECTOR | VECTOR.valid) << VECTOR.receiveShift) |
      ((TRANSMIT_VECTOR | VECTOR.valid) << VECTOR.transmitShift);
    this.#registers
      .sequence([
        ['write32', REGISTER.control, CONTROL.fullDuplex | CONTROL.setLinkUp | forced],
        ['write32', REGISTER.controlExtended, relaxedOrderingDisable | driverLoaded | clearPending],
        ['write32', REGISTER.interruptVectors, vectors],
        ['write32', REGISTER.interruptAutoClear, CAUSE.receive | CAUSE.transmit],
      ])
      .run();
  }

  /** Turns on receive and transmit. The rings exist by then. */
  enable(loopback: boolean): void {
    const registers = this.#registers;
    const filters = loopback
      ? RECEIVE_CONTROL.macLoopback | RECEIVE_CONTROL.allUnicast | RECEIVE_CONTROL.allMulticast
      : 0;
    registers.write32(
      REGISTER.transmitControl,
      TRANSMIT_CONTROL.enable |
        TRANSMIT_CONTROL.padShort |
        TRANSMIT_CONTROL.collisionThreshold |
        TRANSMIT_CONTROL.collisionDistance,
    );
    registers.write32(
      REGISTER.receiveControl,
      RECEIVE_CONTROL.enable | RECEIVE_CONTROL.broadcast | RECEIVE_CONTROL.stripCrc | filters,
    );
  }

  /** Lets `cause` interrupt, once. If a cause came while it was masked, it interrupts at once. */
  unmask(cause: number): void {
    this.#registers.write32(REGISTER.interruptMaskSet, cause);
  }

  /** True if there is a link; and its speed in megabits a second. */
  get link(): { readonly up: boolean; readonly speed: number } {
    const status = this.#registers.read32(REGISTER.status);
    return {
      up: (status & STATUS.linkUp) !== 0,
      speed: [10, 100, 1000, 1000][(status & STATUS.speed) >> 6]!,
    };
  }

  /** The device has read the address from the EEPROM at the reset. @throws DmaError EIO there is none */
  readMacAddress(): string {
    const low = this.#registers.read32(REGISTER.addressLow);
    const high = this.#registers.read32(REGISTER.addressHigh);
    if ((high & ADDRESS_VALID) === 0) {
      throw new DmaError('EIO', `${this.#name} has no MAC address`, { remedy: 'check its EEPROM' });
    }
    const bytes = [low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8];
    return bytes.map((byte) => (byte & 0xff).toString(16).padStart(2, '0')).join(':');
  }

  /** A 16-bit word of the EEPROM. @throws DmaError EIO no answer · ENODEV closed, or the device is gone */
  readEeprom(word: number): number {
    this.#registers.write32(REGISTER.eepromRead, (word << EEPROM.addressShift) | EEPROM.start);
    return this.#until(REGISTER.eepromRead, EEPROM.done, EEPROM.done, 'the EEPROM') >>> EEPROM.dataShift;
  }

  /** Reads a register until it has `value` in the bits of `mask`. @returns the register */
  #until(offset: number, mask: number, value: number, what: string): number {
    for (let reads = 0; reads < PATIENCE; reads++) {
      const got = this.#registers.read32(offset);
      if ((got & mask) === value) return got;
    }
    throw new DmaError('EIO', `${this.#name}: ${what} does not end`, { remedy: 'reset the function' });
  }
}
