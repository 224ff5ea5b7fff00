/**
 * A driver for Intel's 82574 (Intel 82574 GbE Controller Family Datasheet, revision 3.4), which Linux and QEMU call
 * e1000e. It has one receive ring and one transmit ring, polled or with MSI-X, and MAC loopback for a trial without a
 * network. It is written against PciFunction: no part of it knows if the device is real or simulated.
 *
 *      const nic = new E1000e(await openPci('0000:03:00.0'), { loopback: true });
 *      const batch: Packet[] = [];
 *      for (;;) {
 *        if (nic.receive(batch, 32) === 0) await nic.waitToReceive();
 *        ...
 *      }
 */
import { DmaError, dmaBitMask, type Interrupt, type PciFunction } from '../../lib/index.ts';
import { Controller, RECEIVE_VECTOR, TRANSMIT_VECTOR } from './controller.ts';
import { type Packet, PacketPool } from './packet.ts';
import { ReceiveRing } from './receive-ring.ts';
import { CAUSE, E1000E_DEVICE, INTEL } from './registers.ts';
import { checkDescriptors, type Receiver, type Transmitter } from './ring.ts';
import { Counters, type Statistics } from './statistics.ts';
import { TransmitRing } from './transmit-ring.ts';

/** Options of the driver. */
export interface E1000eOptions {
  /** The descriptors of each ring: a multiple of 8, up to 4,096. Default 256. */
  readonly descriptors?: number;
  /**
   * The total number of packets, at least the descriptors of one ring plus one. Default: those of both rings plus
   * 256.
   */
  readonly packets?: number;
  /** True if the MAC receives the packets that it sends, without a network. Default false. */
  readonly loopback?: boolean;
}

/** Options of a wait. */
export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

export class E1000e implements Receiver, Transmitter {
  readonly fn: PciFunction;
  /** `52:54:00:12:34:56`. */
  readonly macAddress: string;
  readonly loopback: boolean;
  readonly #controller: Controller;
  readonly #pool: PacketPool;
  readonly #receive: ReceiveRing;
  readonly #transmit: TransmitRing;
  readonly #counters: Counters;
  readonly #receiveInterrupt: Interrupt;
  readonly #transmitInterrupt: Interrupt;
  #closed = false;

  /**
   * Takes over an opened function, resets it, and starts it. If this throws, the caller keeps owning the function.
   * @throws DmaError ENODEV not an 82574 · EINVAL options · ENOMEM, ENOSPC no memory · EIO no valid address, or a
   *   reset that does not end · ENOSPC fewer than two MSI-X vectors
   */
  constructor(fn: PciFunction, options: E1000eOptions = {}) {
    const { descriptors = 256, packets = 2 * descriptors + 256, loopback = false } = options;
    checkDescriptors(descriptors);
    const { vendorId, deviceId } = fn.config;
    if (vendorId !== INTEL || deviceId !== E1000E_DEVICE) {
      const id = `${vendorId.toString(16).padStart(4, '0')}:${deviceId.toString(16).padStart(4, '0')}`;
      throw new DmaError('ENODEV', `${fn.address} is ${id}, not an 82574`, { remedy: 'open 8086:10d3' });
    }
    this.fn = fn;
    this.loopback = loopback;
    const registers = fn.bar(0);
    this.#controller = new Controller(registers, fn.address);
    fn.dma.setMaskAndCoherent(dmaBitMask(64));
    const made: Disposable[] = [];
    const keep = <T extends Disposable>(one: T): T => {
      made.unshift(one);
      return one;
    };
    try {
      this.#pool = keep(new PacketPool(fn.dma, packets));
      this.#receive = keep(new ReceiveRing(fn.dma, registers, this.#pool, descriptors));
      this.#transmit = keep(new TransmitRing(fn.dma, registers, this.#pool, descriptors));
      this.#receiveInterrupt = keep(fn.interrupts.msix(RECEIVE_VECTOR));
      this.#transmitInterrupt = keep(fn.interrupts.msix(TRANSMIT_VECTOR));
      this.#counters = new Counters(registers);
      this.#controller.halt();
      this.macAddress = this.#controller.readMacAddress();
      fn.setMaster();
      this.#start();
    } catch (error) {
      fn.clearMaster();
      for (const one of made) one[Symbol.dispose]();
      throw error;
    }
    // A driver that polls memory would not notice that the device is gone.
    fn.gone.addEventListener('abort', () => this.#leave(fn.gone.reason), { once: true });
    fn.onReleaseRequest(() => this.#rest());
  }

  /** The number of free packets. */
  get available(): number {
    return this.#pool.available;
  }

  /** The number of packets that the transmit ring took and that are not sent yet. @throws DmaError ENODEV closed */
  get underWay(): number {
    return this.#transmit.capacity - this.#transmit.room;
  }

  /** The number of packets that can be under way at once, in either direction. */
  get capacity(): number {
    return this.#transmit.capacity;
  }

  /** The number of received descriptors that were not one whole, good packet. */
  get dropped(): number {
    return this.#receive.dropped;
  }

  /** True if there is a link; and its speed in megabits a second. */
  get link(): { readonly up: boolean; readonly speed: number } {
    return this.#controller.link;
  }

  /** A free packet, to be filled and sent; undefined if none is free. @throws DmaError ENODEV closed */
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
   * Waits until a packet is there. If no free packet can take its place, `receive` returns 0 nevertheless. The device
   * interrupts only while a call waits: once, and then it is masked until the next wait. So polling under load costs
   * no interrupts.
   * @throws the reason of `signal` · DmaError ENODEV closed, or the device is gone
   */
  async waitToReceive({ signal }: WaitOptions = {}): Promise<void> {
    while (!this.#receive.ready) await this.#interrupt(this.#receiveInterrupt, CAUSE.receive, signal);
  }

  /**
   * Waits until `count` packets can be sent. Otherwise as `waitToReceive`.
   * @throws DmaError EINVAL more than the ring can ever take
   */
  async waitToTransmit(count = 1, { signal }: WaitOptions = {}): Promise<void> {
    if (!Number.isInteger(count) || count < 1 || count > this.#transmit.capacity) {
      throw new DmaError('EINVAL', `room for ${String(count)} packets`, {
        remedy: `the ring takes 1 to ${this.#transmit.capacity}`,
      });
    }
    while (this.#transmit.room < count)
      await this.#interrupt(this.#transmitInterrupt, CAUSE.transmit, signal);
  }

  /** The counters of the device since it was opened. @throws DmaError ENODEV closed, or the device is gone */
  statistics(): Statistics {
    return this.#counters.read();
  }

  /** A 16-bit word of the EEPROM. @throws DmaError EIO no answer · ENODEV closed, or the device is gone */
  readEeprom(word: number): number {
    return this.#controller.readEeprom(word);
  }

  /**
   * Resets the device in any state, and starts it again. Packets in the rings are lost, and their buffers become
   * free. The caller keeps the packets that it holds. Calls that wait continue to wait, for packets that come after
   * the reset.
   * @throws DmaError EIO the reset does not end · ENODEV closed, or the device is gone
   */
  reset(): void {
    // The reset would clear the counters.
    this.#counters.read();
    this.#controller.halt();
    this.#receive.stop();
    this.#transmit.stop();
    this.#start();
    // The packets that these calls wait for may be there now, or may never come. So the calls check again, and unmask
    // the causes that the reset has masked.
    this.#receiveInterrupt.trigger();
    this.#transmitInterrupt.trigger();
  }

  /** Stops the device, frees its memory, and releases the function. Calling it twice is harmless. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.fn.closed) this.#release();
    } finally {
      this.fn.close();
    }
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #release(): void {
    this.#rest();
    this.#receive[Symbol.dispose]();
    this.#transmit[Symbol.dispose]();
    this.#pool[Symbol.dispose]();
  }

  /** Stops the device for good. */
  #rest(): void {
    try {
      this.#controller.halt();
    } catch (error) {
      // The device is gone, or does not answer. Without bus mastering it reaches no memory in either case.
      if (!(error instanceof DmaError)) throw error;
    }
    this.fn.clearMaster();
  }

  #leave(error: DmaError): void {
    this.#receive.fail(error);
    this.#transmit.fail(error);
  }

  #start(): void {
    this.#controller.configure(this.loopback);
    this.#counters.clear();
    this.#receive.start();
    this.#transmit.start();
    this.#controller.enable(this.loopback);
  }

  async #interrupt(interrupt: Interrupt, cause: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    this.#controller.unmask(cause);
    await interrupt.wait(signal === undefined ? {} : { signal });
  }
}

function closedNic(address: string): DmaError {
  return new DmaError('ENODEV', `the NIC at ${address} is closed`, { remedy: 'open it again' });
}
