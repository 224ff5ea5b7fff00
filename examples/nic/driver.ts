/**
 * A driver for Intel's 82574 (Intel 82574 GbE Controller Family Datasheet, revision 3.4), which Linux and QEMU call e1000e:
 * one receive and one transmit ring, polled or by MSI-X, and MAC loopback for trying it without a network. Written
 * against PciFunction: nothing in it knows whether the device is real or simulated.
 *
 *      const nic = new E1000e(await openPci('0000:03:00.0'), { loopback: true });
 *      const batch: Packet[] = [];
 *      for (;;) {
 *        if (nic.receive(batch, 32) === 0) await nic.waitToReceive();
 *        ...
 *      }
 */
import { type Bar, DmaError, dmaBitMask, type Interrupt, type PciFunction } from '../../lib/index.ts';
import { type Packet, PacketPool } from './packet.ts';
import { ReceiveRing } from './receive-ring.ts';
import {
  ADDRESS_VALID,
  CAUSE,
  CONTROL,
  CONTROL_EXTENDED,
  E1000E_DEVICE,
  EEPROM,
  INTEL,
  RECEIVE_CONTROL,
  REGISTER,
  STATUS,
  TRANSMIT_CONTROL,
  VECTOR,
} from './registers.ts';
import type { Receiver, Transmitter } from './ring.ts';
import { Counters, type Statistics } from './statistics.ts';
import { TransmitRing } from './transmit-ring.ts';

export interface E1000eOptions {
  /** Descriptors of each ring: a multiple of 8, to 4,096. Default 256. */
  readonly descriptors?: number;
  /** Packets in all. Default: both rings' and 256 more. At least one ring's and one more. */
  readonly packets?: number;
  /** Whether the MAC receives what it sends, and the network is not there. Default false. */
  readonly loopback?: boolean;
}

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Reads of a register until something that takes microseconds is given up. */
const PATIENCE = 100_000;
const ALL = 0xffff_ffff;
/** Vectors of the two causes. */
const RECEIVE_VECTOR = 0;
const TRANSMIT_VECTOR = 1;

export class E1000e implements Receiver, Transmitter {
  readonly fn: PciFunction;
  /** `52:54:00:12:34:56`. */
  readonly macAddress: string;
  readonly loopback: boolean;
  readonly #registers: Bar;
  readonly #pool: PacketPool;
  readonly #receive: ReceiveRing;
  readonly #transmit: TransmitRing;
  readonly #counters: Counters;
  readonly #receiveInterrupt: Interrupt;
  readonly #transmitInterrupt: Interrupt;
  #closed = false;

  /**
   * Take over an opened function, reset it, and start it. On failure the function is left to the caller.
   * @throws DmaError ENODEV not an 82574 · EINVAL options · ENOMEM, ENOSPC no memory · EIO no valid address, or a reset
   *   that does not end · ENOSPC fewer than two MSI-X vectors
   */
  constructor(fn: PciFunction, options: E1000eOptions = {}) {
    const { descriptors = 256, packets = 2 * descriptors + 256, loopback = false } = options;
    const { vendorId, deviceId } = fn.config;
    if (vendorId !== INTEL || deviceId !== E1000E_DEVICE) {
      const id = `${vendorId.toString(16).padStart(4, '0')}:${deviceId.toString(16).padStart(4, '0')}`;
      throw new DmaError('ENODEV', `${fn.address} is ${id}, not an 82574`, { remedy: 'open 8086:10d3' });
    }
    this.fn = fn;
    this.loopback = loopback;
    this.#registers = fn.bar(0);
    fn.dma.setMaskAndCoherent(dmaBitMask(64));
    const made: Disposable[] = [];
    const keep = <T extends Disposable>(one: T): T => {
      made.unshift(one);
      return one;
    };
    try {
      this.#pool = keep(new PacketPool(fn.dma, packets));
      this.#receive = keep(new ReceiveRing(fn.dma, this.#registers, this.#pool, descriptors));
      this.#transmit = keep(new TransmitRing(fn.dma, this.#registers, this.#pool, descriptors));
      this.#receiveInterrupt = keep(fn.interrupts.msix(RECEIVE_VECTOR));
      this.#transmitInterrupt = keep(fn.interrupts.msix(TRANSMIT_VECTOR));
      this.#counters = new Counters(this.#registers);
      this.#halt();
      this.macAddress = this.#readMacAddress();
      fn.setMaster();
      this.#start();
    } catch (error) {
      fn.clearMaster();
      for (const one of made) one[Symbol.dispose]();
      throw error;
    }
    // Who polls memory would not notice.
    fn.gone.addEventListener('abort', () => this.#leave(fn.gone.reason), { once: true });
    fn.onReleaseRequest(() => this.#rest());
  }

  /** Packets that nobody holds. */
  get available(): number {
    return this.#pool.available;
  }

  /** Packets that were taken and are not sent yet. @throws DmaError ENODEV closed */
  get underWay(): number {
    return this.#transmit.capacity - this.#transmit.room;
  }

  /** Packets that can be under way at once, in either direction. */
  get capacity(): number {
    return this.#transmit.capacity;
  }

  /** What was received, but is no whole good packet. */
  get dropped(): number {
    return this.#receive.dropped;
  }

  /** Whether there is a link, and megabits a second. */
  get link(): { readonly up: boolean; readonly speed: number } {
    const status = this.#registers.read32(REGISTER.status);
    return {
      up: (status & STATUS.linkUp) !== 0,
      speed: [10, 100, 1000, 1000][(status & STATUS.speed) >> 6]!,
    };
  }

  /** A free packet, to be filled and sent; undefined when all are out. @throws DmaError ENODEV closed */
  alloc(): Packet | undefined {
    if (this.#closed) throw closedNic(this.fn.address);
    if (this.#pool.available === 0) this.#transmit.reclaim();
    if (this.#pool.available === 0) return undefined;
    const packet = this.#pool.packets[this.#pool.take()]!;
    packet.held = true;
    return packet;
  }

  receive(batch: Packet[], max: number = batch.length): number {
    if (this.#pool.available < max) this.#transmit.reclaim();
    return this.#receive.receive(batch, max);
  }

  transmit(batch: readonly Packet[], from = 0, count: number = batch.length - from): number {
    return this.#transmit.transmit(batch, from, count);
  }

  /**
   * Wait until a packet is there; while none is free to take its place, `receive` returns 0 all the same. The device
   * interrupts only while somebody waits: once, and is then masked until the next wait, so that polling under load
   * costs no interrupts.
   * @throws what `signal` says · DmaError ENODEV closed, or the device is gone
   */
  async waitToReceive({ signal }: WaitOptions = {}): Promise<void> {
    while (!this.#receive.ready) await this.#interrupt(this.#receiveInterrupt, CAUSE.receive, signal);
  }

  /** Wait until `count` packets can be sent. As `waitToReceive`. @throws DmaError EINVAL more than the ring ever takes */
  async waitToTransmit(count = 1, { signal }: WaitOptions = {}): Promise<void> {
    if (!Number.isInteger(count) || count < 1 || count > this.#transmit.capacity) {
      throw new DmaError('EINVAL', `room for ${String(count)} packets`, {
        remedy: `the ring takes 1 to ${this.#transmit.capacity}`,
      });
    }
    while (this.#transmit.room < count)
      await this.#interrupt(this.#transmitInterrupt, CAUSE.transmit, signal);
  }

  /** What the device has counted since it was opened. @throws DmaError ENODEV closed, or the device is gone */
  statistics(): Statistics {
    return this.#counters.read();
  }

  /** A 16-bit word of the EEPROM. @throws DmaError EIO no answer · ENODEV closed, or the device is gone */
  readEeprom(word: number): number {
    this.#registers.write32(REGISTER.eepromRead, (word << EEPROM.addressShift) | EEPROM.start);
    return this.#until(REGISTER.eepromRead, EEPROM.done, EEPROM.done, 'the EEPROM') >>> EEPROM.dataShift;
  }

  /**
   * Reset the device in the middle of whatever it does, and start it again. Packets that were in the rings are lost, and
   * their buffers free; those the caller holds stay the caller's.
   * @throws DmaError EIO the reset does not end · ENODEV closed, or the device is gone
   */
  reset(): void {
    // What it has counted would be lost.
    this.#counters.read();
    this.#halt();
    this.#receive.stop();
    this.#transmit.stop();
    this.#start();
  }

  /** Stop the device, give back what was taken from it, release the function. Harmless to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.fn.closed) this.#release();
    } finally {
      this.fn.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #release(): void {
    this.#rest();
    this.#receive[Symbol.dispose]();
    this.#transmit[Symbol.dispose]();
    this.#pool[Symbol.dispose]();
  }

  /** Stop it for good. */
  #rest(): void {
    try {
      this.#halt();
    } catch (error) {
      // It is gone, or does not answer: without bus mastering it reaches no memory either way.
      if (!(error instanceof DmaError)) throw error;
    }
    this.fn.clearMaster();
  }

  #leave(error: DmaError): void {
    this.#receive.fail(error);
    this.#transmit.fail(error);
  }

  /**
   * No interrupt, no DMA, then a reset ("Software Reset", "Master Disable"). Every register that matters is written at the
   * start all the same: QEMU before 8.0 only restores the MAC address.
   */
  #halt(): void {
    const registers = this.#registers;
    registers.write32(REGISTER.interruptMaskClear, ALL);
    registers.write32(REGISTER.receiveControl, 0);
    registers.write32(REGISTER.transmitControl, TRANSMIT_CONTROL.padShort);
    registers.write32(REGISTER.control, registers.read32(REGISTER.control) | CONTROL.masterDisable);
    this.#until(REGISTER.status, STATUS.masterEnabled, 0, 'the last DMA');
    registers.write32(REGISTER.control, CONTROL.reset);
    this.#until(REGISTER.control, CONTROL.reset, 0, 'the reset');
    registers.write32(REGISTER.interruptMaskClear, ALL);
    registers.write32(REGISTER.interruptCause, ALL);
  }

  /** "Software Initialization Sequence". */
  #start(): void {
    const registers = this.#registers;
    const forced = this.loopback ? CONTROL.forceSpeed | CONTROL.forceDuplex | CONTROL.speed1000 : 0;
    registers.write32(REGISTER.control, CONTROL.fullDuplex | CONTROL.setLinkUp | forced);
    registers.write32(
      REGISTER.controlExtended,
      CONTROL_EXTENDED.relaxedOrderingDisable | CONTROL_EXTENDED.driverLoaded | CONTROL_EXTENDED.clearPending,
    );
    registers.write32(
      REGISTER.interruptVectors,
      ((RECEIVE_VECTOR | VECTOR.valid) << VECTOR.receiveShift) |
        ((TRANSMIT_VECTOR | VECTOR.valid) << VECTOR.transmitShift),
    );
    registers.write32(REGISTER.interruptAutoClear, CAUSE.receive | CAUSE.transmit);
    this.#counters.clear();
    this.#receive.start();
    this.#transmit.start();
    const filters = this.loopback
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

  /** Let `cause` interrupt, once; one that came since it was masked does so at once. */
  async #interrupt(interrupt: Interrupt, cause: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    this.#registers.write32(REGISTER.interruptMaskSet, cause);
    await interrupt.wait(signal === undefined ? {} : { signal });
  }

  /** The device has read it from the EEPROM at the reset. */
  #readMacAddress(): string {
    const low = this.#registers.read32(REGISTER.addressLow);
    const high = this.#registers.read32(REGISTER.addressHigh);
    if ((high & ADDRESS_VALID) === 0) {
      throw new DmaError('EIO', `${this.fn.address} has no MAC address`, { remedy: 'check its EEPROM' });
    }
    const bytes = [low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8];
    return bytes.map((byte) => (byte & 0xff).toString(16).padStart(2, '0')).join(':');
  }

  /** Read a register until it has `value` where `mask` is set. @returns it */
  #until(offset: number, mask: number, value: number, what: string): number {
    for (let reads = 0; reads < PATIENCE; reads++) {
      const got = this.#registers.read32(offset);
      if ((got & mask) === value) return got;
    }
    throw new DmaError('EIO', `${this.fn.address}: ${what} does not end`, { remedy: 'reset the function' });
  }
}

function closedNic(address: string): DmaError {
  return new DmaError('ENODEV', `the NIC at ${address} is closed`, { remedy: 'open it again' });
}
