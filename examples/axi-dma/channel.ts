/**
 * The common part of both modes of a channel: the queue of packets, the registers, and the service of an interrupt.
 */
import { DmaError } from '../../lib/index.ts';
import { ERRORS } from './failure.ts';
import { CHANNEL, CONTROL, REGISTER, STATUS } from './registers.ts';
import type { Settings } from './settings.ts';
import type { Lent, Payload, Piece, Transfer } from './transfer.ts';

/** The part of a Bar, or of the registers of a UIO device, that the driver needs. All accesses are 32 bits wide. */
export interface Registers {
  /** One read of 32 bits. */
  read32(offset: number): number;
  /** One write of 32 bits, after all earlier stores to memory. */
  write32(offset: number, value: number): void;
}

/** The driver that owns a channel. */
export interface ChannelOwner {
  readonly registers: Registers;
  readonly settings: Settings;
  lend(payload: Payload, direction: 'to-device' | 'from-device'): Lent;
  /** A transfer was begun: the driver has to wait for the interrupt. */
  watch(channel: Channel): void;
  /** Reset the core and fail all transfers under way: `culprit` with `error`, the others with ECANCELED. */
  abandon(error: unknown, culprit?: Transfer): void;
}

/** Options of one transfer. */
export interface TransferOptions {
  /**
   * Aborting a packet under way resets the core, because the core has no other way to release a buffer. The other
   * packets under way reject with ECANCELED.
   */
  readonly signal?: AbortSignal | undefined;
}

export abstract class Channel {
  readonly name: 'MM2S' | 'S2MM';
  readonly receives: boolean;
  protected readonly owner: ChannelOwner;
  readonly #base: number;
  /** Transfers whose memory is mapped, and for which there was no room yet. */
  #waiting: Transfer[] = [];

  constructor(owner: ChannelOwner, which: keyof typeof CHANNEL) {
    this.owner = owner;
    this.#base = CHANNEL[which];
    this.name = which === 'mm2s' ? 'MM2S' : 'S2MM';
    this.receives = which === 's2mm';
  }

  /** Under way, oldest first. */
  protected abstract readonly active: readonly Transfer[];
  /** The core was reset: start the channel. */
  abstract start(): void;
  /** Free the memory of the channel itself. The core must be halted. */
  abstract free(): void;
  protected abstract newTransfer(lent: Lent): Transfer;
  protected abstract hasRoom(transfer: Transfer): boolean;
  protected abstract begin(transfer: Transfer): void;
  /** Finish the transfers that are done. */
  protected abstract collect(status: number): void;
  /** Drop the transfers under way. */
  protected abstract clear(): void;
  /** The transfer that the error bits concern, and the place of the error. */
  protected abstract blame(): { culprit: Transfer | undefined; where: string };
  protected abstract failure(status: number, where: string, culprit: Transfer | undefined): DmaError;

  get busy(): boolean {
    return this.active.length > 0;
  }

  /** @returns the number of bytes that were moved */
  async transfer(payload: Payload, { signal }: TransferOptions): Promise<number> {
    signal?.throwIfAborted();
    const transfer = this.#lend(payload);
    const onAbort = (): void => this.#abort(transfer, signal?.reason);
    signal?.addEventListener('abort', onAbort);
    this.#waiting.push(transfer);
    try {
      this.#beginWaiting();
    } catch (error) {
      // The registers do not answer, or this code has a bug: it is not known which transfers the core has begun.
      this.owner.abandon(error, transfer);
    }
    try {
      return await transfer.done;
    } catch (error) {
      // If the caller aborts several transfers at once, each rejects with the reason of its own signal.
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** The interrupt came, or may have come. */
  service(): void {
    const status = this.read(REGISTER.status);
    // The interrupt is acknowledged before the check, so that a packet that completes from here on interrupts again.
    if (status & STATUS.interrupts) this.write(REGISTER.status, status & STATUS.interrupts);
    this.collect(status);
    if (status & ERRORS) {
      const { culprit, where } = this.blame();
      this.owner.abandon(this.failure(status, where, culprit), culprit);
    } else {
      this.#beginWaiting();
    }
  }

  /**
   * Reject all transfers, begun or not.
   * @param released true if the device can no longer reach the memory
   * @returns the transfers whose memory is still mapped, because the device may reach it
   */
  drop(errorFor: (transfer: Transfer) => unknown, released: boolean): readonly Transfer[] {
    const dropped = [...this.active, ...this.#waiting];
    this.#waiting = [];
    this.clear();
    for (const transfer of dropped) transfer.fail(errorFor(transfer), released);
    return released ? [] : dropped;
  }

  protected read(offset: number): number {
    return this.owner.registers.read32(this.#base + offset);
  }

  protected write(offset: number, value: number): void {
    this.owner.registers.write32(this.#base + offset, value);
  }

  /** The upper half is written last, because a wide core starts at that write. */
  protected writePointer(low: number, address: number): void {
    this.write(low, address >>> 0);
    if (this.owner.settings.addressBits > 32) this.write(low + 4, Math.floor(address / 2 ** 32));
  }

  protected readPointer(low: number): number {
    const high = this.owner.settings.addressBits > 32 ? this.read(low + 4) : 0;
    return high * 2 ** 32 + this.read(low);
  }

  protected run(more: number): void {
    this.write(REGISTER.control, CONTROL.run | CONTROL.completeInterrupt | CONTROL.errorInterrupt | more);
  }

  #lend(payload: Payload): Transfer {
    const lent = this.owner.lend(payload, this.receives ? 'from-device' : 'to-device');
    try {
      const transfer = this.newTransfer(lent);
      for (const piece of transfer.pieces) this.#checkAlignment(piece);
      return transfer;
    } catch (error) {
      lent.unmap();
      throw error;
    }
  }

  #checkAlignment({ address }: Piece): void {
    const { alignment } = this.owner.settings;
    if (address % alignment === 0) return;
    throw new DmaError('EINVAL', `${this.name}: a buffer at 0x${address.toString(16)}`, {
      remedy: `align it to ${alignment} bytes, or build the core with its data realignment engine`,
    });
  }

  #beginWaiting(): void {
    for (let first = this.#waiting[0]; first !== undefined && this.hasRoom(first); first = this.#waiting[0]) {
      this.#waiting.shift();
      this.begin(first);
      this.owner.watch(this);
    }
  }

  #abort(transfer: Transfer, reason: unknown): void {
    const at = this.#waiting.indexOf(transfer);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      transfer.fail(reason, true);
    } else if (this.active.includes(transfer)) {
      this.owner.abandon(reason, transfer);
    }
  }
}
