/**
 * A model of the XDMA core with memory on its AXI bus, as PG195 describes it: channels both ways, descriptors, alignments,
 * poll mode, interrupts by MSI-X, MSI or INTx. It reports what only the core notices, and keeps to the specification where
 * a driver could tell. Throughput, credits and streams are left out.
 */
import {
  type BarDescription,
  type DeviceBus,
  type DeviceModel,
  type FunctionDescription,
  type SimulatedSource,
  type SimulateOptions,
  simulate,
  type Width,
} from '../../lib/sim/index.ts';
import { type Card, ModelEngine } from './model-engine.ts';
import {
  CHANNEL_STRIDE,
  IDENTIFIER,
  INTERRUPTS,
  REGISTER_BYTES,
  TARGET,
  XDMA_DEVICE,
  XILINX,
} from './registers.ts';

/** How the core was built. */
export interface XdmaModelOptions {
  /** Bytes of memory on the card's AXI bus, from address 0 on. Default 1 MiB. */
  readonly memory?: number;
  /** Channels of each way, 1 to 4. Default 1. */
  readonly channels?: number;
  /** Addresses have to be a multiple of it, a power of two. Default 1. */
  readonly addressAlignment?: number;
  /** Lengths have to be a multiple of it, a power of two. Default 1. */
  readonly lengthAlignment?: number;
  /** Bits of the addresses that it can put on PCI Express. Default 64. */
  readonly addressBits?: number;
  /** Simulated microseconds of a descriptor, more than 0. Default 1. */
  readonly time?: number;
  /** Whether the registers of the core are in BAR 1, and those of the design in BAR 0. Default true. */
  readonly axiLite?: boolean;
  /** The interrupts that it has. Default all. */
  readonly interrupts?: 'all' | 'msi' | 'intx';
}

const VECTORS = 32;
const VERSION = 0x06;
const LITE_BYTES = 4096;

/** The XDMA core of a simulated card. */
export class XdmaModel implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  /** The memory of the card: to be looked at, and changed, behind the driver's back. */
  readonly memory: Uint8Array;
  /** Registers of the design, in BAR 0. */
  readonly lite = new Uint32Array(LITE_BYTES / 4);
  readonly #bar: number;
  readonly #channels: number;
  readonly #options: Required<XdmaModelOptions>;
  #bus!: DeviceBus;
  #engines: readonly ModelEngine[] = [];
  #channelEnable = 0;
  #userEnable = 0;
  /** Which channels asked when it was last looked: a message is sent when one begins to. */
  #asked = 0;
  #userRequest = 0;
  #channelVectors = new Uint32Array(2);
  #userVectors = new Uint32Array(4);

  constructor(options: XdmaModelOptions = {}) {
    this.#options = {
      memory: 2 ** 20,
      channels: 1,
      addressAlignment: 1,
      lengthAlignment: 1,
      addressBits: 64,
      time: 1,
      axiLite: true,
      interrupts: 'all',
      ...options,
    };
    const { memory, channels, axiLite, interrupts } = this.#options;
    this.memory = new Uint8Array(memory);
    this.#channels = channels;
    this.#bar = axiLite ? 1 : 0;
    this.config = {
      vendorId: XILINX,
      deviceId: XDMA_DEVICE,
      classCode: 0x058000,
      subsystemVendorId: XILINX,
      subsystemId: 0x0007,
      intx: true,
      express: true,
      functionLevelReset: true,
      ...(interrupts !== 'intx' && { msi: 1 }),
      ...(interrupts === 'all' && {
        msix: { vectors: VECTORS, bar: this.#bar, table: 0x8000, pending: 0x8fe0 },
      }),
    };
    const registers = { index: this.#bar, size: REGISTER_BYTES };
    this.bars = axiLite ? [{ index: 0, size: LITE_BYTES }, registers] : [registers];
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
    const { time, addressAlignment, lengthAlignment, addressBits } = this.#options;
    const { memory } = this;
    const update = () => this.#update();
    const card: Card = { bus, memory, time, addressAlignment, lengthAlignment, addressBits, update };
    const engines = (way: 'h2c' | 'c2h') =>
      Array.from({ length: this.#channels }, (_, index) => new ModelEngine(card, way, index));
    this.#engines = [...engines('h2c'), ...engines('c2h')];
  }

  reset(): void {
    for (const engine of this.#engines) engine.reset();
    this.#channelEnable = 0;
    this.#userEnable = 0;
    this.#asked = 0;
    this.#userRequest = 0;
    this.#channelVectors.fill(0);
    this.#userVectors.fill(0);
  }

  activity(): string | undefined {
    return this.#engines.map(({ activity }) => activity).find((one) => one !== undefined);
  }

  /** The design raises its interrupt (usr_irq_req) for a moment. @param index 0 to 15 */
  raiseUser(index: number): void {
    const bit = 1 << index;
    if ((this.#userEnable & bit) === 0) return;
    if (this.#bus.messages) this.#bus.raise(vectorOf(this.#userVectors, index));
    else {
      this.#userRequest |= bit;
      this.#update();
      this.#userRequest &= ~bit;
      this.#update();
    }
  }

  /** The driver reads a register. */
  read(bar: number, offset: number, _width: Width): number {
    if (bar !== this.#bar) return this.lite[offset >> 2] ?? 0;
    const register = offset & 0xff;
    switch (offset & 0xf000) {
      case TARGET.h2c:
      case TARGET.c2h:
        return this.#engineAt(offset)?.read(register) ?? 0;
      case TARGET.h2cDescriptors:
      case TARGET.c2hDescriptors:
        return this.#engineAt(offset)?.readDescriptors(register) ?? 0;
      case TARGET.interrupts:
        return this.#readInterrupts(register);
      case TARGET.config:
        return register === 0 ? ((IDENTIFIER.config << 16) | VERSION) >>> 0 : 0;
      default:
        return 0;
    }
  }

  /** The driver writes a register. */
  write(bar: number, offset: number, _width: Width, value: number): void {
    if (bar !== this.#bar) {
      this.lite[offset >> 2] = value;
      return;
    }
    const register = offset & 0xff;
    switch (offset & 0xf000) {
      case TARGET.h2c:
      case TARGET.c2h:
        this.#engineAt(offset)?.write(register, value);
        return;
      case TARGET.h2cDescriptors:
      case TARGET.c2hDescriptors:
        this.#engineAt(offset)?.writeDescriptors(register, value);
        return;
      case TARGET.interrupts:
        this.#writeInterrupts(register, value);
        this.#update();
    }
  }

  /** Bit 12 is the way, bits 11:8 the channel. */
  #engineAt(offset: number): ModelEngine | undefined {
    const index = (offset & 0xf00) / CHANNEL_STRIDE;
    if (index >= this.#channels) return undefined;
    return this.#engines[(offset & 0x1000 ? this.#channels : 0) + index];
  }

  #readInterrupts(register: number): number {
    switch (register) {
      case INTERRUPTS.identifier:
        return ((IDENTIFIER.interrupts << 16) | VERSION) >>> 0;
      case INTERRUPTS.userEnable:
        return this.#userEnable;
      case INTERRUPTS.channelEnable:
        return this.#channelEnable;
      case INTERRUPTS.userRequest:
        return this.#userRequest;
      case INTERRUPTS.channelRequest:
        return this.#asking();
      default: {
        const [vectors, index] = this.#vectorsAt(register);
        return vectors?.[index] ?? 0;
      }
    }
  }

  #writeInterrupts(register: number, value: number): void {
    switch (register) {
      case INTERRUPTS.userEnable:
        this.#userEnable = value;
        return;
      case INTERRUPTS.userEnableSet:
        this.#userEnable |= value;
        return;
      case INTERRUPTS.userEnableClear:
        this.#userEnable &= ~value;
        return;
      case INTERRUPTS.channelEnable:
        this.#channelEnable = value;
        return;
      case INTERRUPTS.channelEnableSet:
        this.#channelEnable |= value;
        return;
      case INTERRUPTS.channelEnableClear:
        this.#channelEnable &= ~value;
        return;
    }
    const [vectors, index] = this.#vectorsAt(register);
    if (vectors !== undefined && index < vectors.length) vectors[index] = value;
  }

  #vectorsAt(register: number): [vectors: Uint32Array | undefined, index: number] {
    const { userVectors, channelVectors } = INTERRUPTS;
    if (register >= channelVectors) return [this.#channelVectors, (register - channelVectors) >> 2];
    if (register >= userVectors) return [this.#userVectors, (register - userVectors) >> 2];
    return [undefined, 0];
  }

  /** Channels that ask for an interrupt, as bits. */
  #asking(): number {
    return this.#engines.reduce((bits, engine, i) => bits | (engine.asks ? 1 << i : 0), 0);
  }

  #update(): void {
    const asking = this.#asking() & this.#channelEnable;
    const began = asking & ~this.#asked;
    this.#asked = asking;
    if (!this.#bus.messages) {
      if (asking !== 0 || this.#userRequest !== 0) this.#bus.raise();
      else this.#bus.lower();
      return;
    }
    for (let i = 0; i < this.#engines.length; i++) {
      if ((began & (1 << i)) !== 0) this.#bus.raise(vectorOf(this.#channelVectors, i));
    }
  }
}

/** Registers with four vectors each. */
function vectorOf(registers: Uint32Array, index: number): number {
  return (registers[index >> 2]! >>> (8 * (index & 3))) & 0x1f;
}

/** The model, plugged in. */
export function simulateXdma(
  options: XdmaModelOptions = {},
  machine: SimulateOptions = {},
): SimulatedSource<XdmaModel> {
  return simulate(new XdmaModel(options), machine);
}
