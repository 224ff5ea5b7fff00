/**
 * QEMU's `edu` teaching device (docs/specs/edu): identification, factorial, interrupts, and a DMA engine with a
 * buffer of its own.
 *
 *      0x00  identification, 0x010000ed            0x60  raise an interrupt: OR into 0x24
 *      0x04  liveness: reads the inverse           0x64  acknowledge: clear in 0x24
 *      0x08  factorial of what is written          0x80  DMA source        (64 bits)
 *      0x20  status: 0x01 computing,               0x88  DMA destination   (64 bits)
 *            0x80 interrupt when done              0x90  DMA byte count    (64 bits)
 *      0x24  interrupt status                      0x98  DMA command: 1 run, 2 to memory, 4 interrupt when done
 *                                                  0x40000  the buffer, reached by DMA only
 *
 * Registers below 0x80 take 32-bit accesses, from 0x80 on 32 or 64 bits. Where QEMU's versions differ on a bad
 * transfer (7.2 ends the machine), this model does what a device can do: nothing, and reports it.
 */
import { checkOptions, whole } from '../../arguments.ts';
import { dmaBitMask } from '../../dma/words/mask.ts';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../model.ts';

const REGISTER = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;

const IDENTIFICATION = 0x010000ed;
const STATUS_COMPUTING = 0x01;
const STATUS_INTERRUPT = 0x80;
const INTERRUPT_FACTORIAL = 0x001;
const INTERRUPT_DMA = 0x100;
const COMMAND_RUN = 1n;
const COMMAND_TO_MEMORY = 2n;
const COMMAND_INTERRUPT = 4n;

const BUFFER_START = 0x40000n;
const BUFFER_SIZE = 4096;
const ALL_ONES_64 = 2n ** 64n - 1n;

/** Options of the model. */
export interface EduOptions {
  /**
   * The number of address bits that the DMA engine drives. It drops the others, without a word on real wires. Default
   * 28.
   */
  readonly dmaBits?: number;
  /**
   * Simulated microseconds of a transfer. With 0 it is over when the register write returns. Default 100,000, as in
   * QEMU.
   */
  readonly transferTime?: number;
  /** Simulated microseconds of a factorial. Default 10. */
  readonly factorialTime?: number;
}

/** QEMU's educational device. */
export class EduModel implements DeviceModel {
  readonly config: FunctionDescription = {
    vendorId: 0x1234,
    deviceId: 0x11e8,
    revision: 0x10,
    classCode: 0x00ff00,
    subsystemVendorId: 0x1af4,
    subsystemId: 0x1100,
    intx: true,
    msi: 1,
  };
  readonly bars: readonly BarDescription[] = [{ index: 0, size: 1 << 20 }];

  readonly #dmaMask: bigint;
  readonly #transferTime: number;
  readonly #factorialTime: number;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #bus!: DeviceBus;
  #liveness = 0;
  #factorial = 0;
  #status = 0;
  #interrupts = 0;
  #source = 0n;
  #destination = 0n;
  #count = 0n;
  #command = 0n;

  /** @throws DmaError EINVAL options */
  constructor(options: EduOptions = {}) {
    checkOptions<EduOptions>(options, 'EduModel', {
      dmaBits: whole(1, 64),
      transferTime: whole(0, Number.MAX_SAFE_INTEGER),
      factorialTime: whole(0, Number.MAX_SAFE_INTEGER),
    });
    const { dmaBits = 28, transferTime = 100_000, factorialTime = 10 } = options;
    this.#dmaMask = dmaBitMask(dmaBits);
    this.#transferTime = transferTime;
    this.#factorialTime = factorialTime;
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
  }

  reset(): void {
    this.#buffer.fill(0);
    this.#liveness = this.#factorial = this.#status = this.#interrupts = 0;
    this.#source = this.#destination = this.#count = this.#command = 0n;
  }

  /** The driver reads a register. */
  read(_bar: number, offset: number, width: Width): number {
    if (width !== 4) return 0;
    switch (offset) {
      case REGISTER.identification:
        return IDENTIFICATION;
      case REGISTER.liveness:
        return this.#liveness;
      case REGISTER.factorial:
        return this.#factorial;
      case REGISTER.status:
        return this.#status;
      case REGISTER.interruptStatus:
        return this.#interrupts;
      default:
        return Number(BigInt.asUintN(32, this.read64(0, offset)));
    }
  }

  read64(_bar: number, offset: number): bigint {
    switch (offset) {
      case REGISTER.dmaSource:
        return this.#source;
      case REGISTER.dmaDestination:
        return this.#destination;
      case REGISTER.dmaCount:
        return this.#count;
      case REGISTER.dmaCommand:
        return this.#command;
      default:
        return ALL_ONES_64;
    }
  }

  /** The driver writes a register. */
  write(_bar: number, offset: number, width: Width, value: number): void {
    if (width !== 4) return;
    switch (offset) {
      case REGISTER.liveness:
        this.#liveness = ~value >>> 0;
        break;
      case REGISTER.factorial:
        this.#startFactorial(value);
        break;
      case REGISTER.status:
        this.#status = (this.#status & STATUS_COMPUTING) | (value & STATUS_INTERRUPT);
        break;
      case REGISTER.interruptRaise:
        this.#raise(value);
        break;
      case REGISTER.interruptAcknowledge:
        this.#acknowledge(value);
        break;
      default:
        this.write64(0, offset, BigInt(value));
    }
  }

  /** The driver writes a register of 64 bits. */
  write64(_bar: number, offset: number, value: bigint): void {
    if (this.#command & COMMAND_RUN) return;
    switch (offset) {
      case REGISTER.dmaSource:
        this.#source = value;
        break;
      case REGISTER.dmaDestination:
        this.#destination = value;
        break;
      case REGISTER.dmaCount:
        this.#count = value;
        break;
      case REGISTER.dmaCommand:
        this.#startTransfer(value);
        break;
    }
  }

  #startFactorial(of: number): void {
    if (this.#status & STATUS_COMPUTING) return;
    this.#factorial = of;
    this.#status |= STATUS_COMPUTING;
    this.#bus.after(this.#factorialTime, () => {
      this.#factorial = factorial(of);
      this.#status &= ~STATUS_COMPUTING;
      if (this.#status & STATUS_INTERRUPT) this.#raise(INTERRUPT_FACTORIAL);
    });
  }

  #startTransfer(command: bigint): void {
    if (!(command & COMMAND_RUN)) return;
    this.#command = command;
    if (this.#transferTime === 0) this.#transfer(command);
    else this.#bus.after(this.#transferTime, () => this.#transfer(command));
  }

  #transfer(command: bigint): void {
    if (command & COMMAND_TO_MEMORY) this.#toMemory();
    else this.#fromMemory();
    this.#command &= ~COMMAND_RUN;
    if (command & COMMAND_INTERRUPT) this.#raise(INTERRUPT_DMA);
  }

  #fromMemory(): void {
    const slice = this.#slice(this.#destination, this.#source, 'read');
    if (slice !== undefined) this.#bus.dmaRead(this.#clamp(this.#source, 'read'), slice);
  }

  #toMemory(): void {
    const slice = this.#slice(this.#source, this.#destination, 'write');
    if (slice !== undefined) this.#bus.dmaWrite(this.#clamp(this.#destination, 'write'), slice);
  }

  /** The part of the buffer at the transfer's device address; undefined if the buffer has no such part. */
  #slice(inside: bigint, memory: bigint, access: 'read' | 'write'): Uint8Array | undefined {
    const start = inside - BUFFER_START;
    if (start >= 0n && start + this.#count <= BUFFER_SIZE) {
      return this.#buffer.subarray(Number(start), Number(start + this.#count));
    }
    const where = `0x${inside.toString(16)} of the device is outside its buffer`;
    this.#bus.report(memory, Number(this.#count), access, where);
    return undefined;
  }

  #clamp(address: bigint, access: 'read' | 'write'): bigint {
    const clamped = address & this.#dmaMask;
    if (clamped !== address) {
      this.#bus.report(address, Number(this.#count), access, `address cut to 0x${clamped.toString(16)}`);
    }
    return clamped;
  }

  #raise(bits: number): void {
    this.#interrupts = (this.#interrupts | bits) >>> 0;
    if (this.#interrupts !== 0) this.#bus.raise();
  }

  #acknowledge(bits: number): void {
    this.#interrupts = (this.#interrupts & ~bits) >>> 0;
    if (this.#interrupts === 0) this.#bus.lower();
  }
}

/** Modulo 2^32. From 34 on the result is 0. */
function factorial(of: number): number {
  if (of >= 34) return 0;
  let result = 1;
  for (let factor = 2; factor <= of; factor++) result = Math.imul(result, factor);
  return result >>> 0;
}
