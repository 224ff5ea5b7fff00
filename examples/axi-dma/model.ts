/**
 * A model of the AXI DMA (PG021), written as a user of the simulation would write one. A FIFO loops its two streams
 * back. It is behind BAR 0 of a PCI function, as on an FPGA card. MSI vector 0 is MM2S's interrupt, and vector 1 is
 * S2MM's. INTx is both.
 */

import type {
  BarDescription,
  DeviceBus,
  DeviceModel,
  FunctionDescription,
  Width,
} from '../../lib/sim/index.ts';
import { type SimulatedSource, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { ChannelModel } from './model-channel.ts';
import type { Job, Moved } from './model-job.ts';
import type { Response, Wires } from './model-wires.ts';
import { CHANNEL, DESCRIPTOR_CONTROL, DESCRIPTOR_STATUS, REGISTER_SPAN } from './registers.ts';
import { LoopbackStream, type Stream } from './stream.ts';

/** How the core was built, and how fast it is. */
export interface AxiDmaModelOptions {
  /** True if the core has the scatter-gather engine. False means direct register mode. Default true. */
  readonly scatterGather?: boolean;
  /** Width of addresses, 32 to 64. Default 32. */
  readonly addressBits?: number;
  /** Width of the buffer length register, 8 to 26. Default 14. */
  readonly lengthBits?: number;
  /**
   * The alignment of addresses in bytes: the size of a bus word, if there is no data realignment engine. Default 1.
   */
  readonly alignment?: number;
  /** The stream between the channels. Default: a loopback that holds `fifo` bytes. */
  readonly stream?: Stream;
  /** Bytes that the loopback holds. Default 8,192. */
  readonly fifo?: number;
  /** The bandwidth of each channel in bytes per microsecond. Default 400: 32 bits at 100 MHz. */
  readonly bandwidth?: number;
}

/** Simulated microseconds of a soft reset. */
const RESET_TIME = 5;

class Mm2sModel extends ChannelModel {
  readonly #stream: Stream;

  constructor(wires: Wires, stream: Stream) {
    super(wires);
    this.#stream = stream;
    stream.onRoom = () => this.wake();
  }

  protected override move(job: Job, limit: number): Moved {
    const length = Math.min(limit, this.#stream.room);
    if (length === 0) return 0;
    const bytes = new Uint8Array(length);
    const response = this.wires.read(job.address, bytes);
    if (response !== 'OKAY') return response;
    this.#stream.push({ bytes, last: length === job.left && this.endsPacket(job) });
    return length;
  }

  protected override endsPacket({ descriptor, flags }: Job): boolean {
    return descriptor === undefined || (flags & DESCRIPTOR_CONTROL.endOfFrame) !== 0;
  }

  protected override result({ moved }: Job): number {
    return moved;
  }
}

class S2mmModel extends ChannelModel {
  readonly #stream: Stream;
  /** True if the next bytes are the first of a packet. */
  #fresh = true;
  /** True if the packet in `job` began there. */
  #began = false;

  constructor(wires: Wires, stream: Stream) {
    super(wires);
    this.#stream = stream;
    stream.onBytes = () => this.wake();
  }

  override reset(): void {
    super.reset();
    this.#fresh = true;
  }

  protected override move(job: Job, limit: number): Moved {
    const beats = this.#stream.take(limit);
    if (beats === undefined) return 0;
    const { bytes, last } = beats;
    const response = bytes.length === 0 ? 'OKAY' : this.wires.write(job.address, bytes);
    if (response !== 'OKAY') return response;
    if (job.moved === 0) this.#began = this.#fresh;
    this.#fresh = job.ended = last;
    // With descriptors, the rest goes into the next one.
    if (job.descriptor === undefined && bytes.length === job.left && !last) return 'too long';
    return bytes.length;
  }

  protected override endsPacket({ ended }: Job): boolean {
    return ended;
  }

  protected override result({ descriptor, moved, ended }: Job): number {
    if (descriptor === undefined) return moved;
    const start = this.#began ? DESCRIPTOR_STATUS.startOfFrame : 0;
    return moved | start | (ended ? DESCRIPTOR_STATUS.endOfFrame : 0);
  }
}

export class AxiDmaModel implements DeviceModel {
  readonly config: FunctionDescription = { vendorId: 0x10ee, deviceId: 0x7021, intx: true, msi: 2 };
  readonly bars: readonly BarDescription[] = [{ index: 0, size: 4096 }];
  /** A range of memory that answers SLVERR, both ends inclusive; normally there is none. */
  broken: { readonly start: bigint; readonly end: bigint } | undefined;

  readonly #options: Required<Omit<AxiDmaModelOptions, 'stream'>>;
  readonly #stream: Stream;
  #bus!: DeviceBus;
  #mm2s!: Mm2sModel;
  #s2mm!: S2mmModel;
  #levels = [false, false];

  constructor({ stream, ...options }: AxiDmaModelOptions = {}) {
    this.#options = {
      ...{ scatterGather: true, addressBits: 32, lengthBits: 14, alignment: 1, fifo: 8192, bandwidth: 400 },
      ...options,
    };
    this.#stream = stream ?? new LoopbackStream(this.#options.fifo);
  }

  attach(bus: DeviceBus): void {
    this.#bus = bus;
    const wires = this.#wires();
    this.#mm2s = new Mm2sModel(wires, this.#stream);
    this.#s2mm = new S2mmModel(wires, this.#stream);
  }

  reset(): void {
    this.#stream.clear();
    this.#mm2s.reset();
    this.#s2mm.reset();
    this.#updateInterrupts();
  }

  /** The driver reads a register. */
  read(_bar: number, offset: number, width: Width): number {
    if (width !== 4 || offset >= REGISTER_SPAN) return 0;
    return offset < CHANNEL.s2mm ? this.#mm2s.read(offset) : this.#s2mm.read(offset - CHANNEL.s2mm);
  }

  /** The driver writes a register. */
  write(_bar: number, offset: number, width: Width, value: number): void {
    if (width !== 4 || offset >= REGISTER_SPAN) return;
    if (offset < CHANNEL.s2mm) this.#mm2s.write(offset, value);
    else this.#s2mm.write(offset - CHANNEL.s2mm, value);
  }

  #wires(): Wires {
    const bus = this.#bus;
    return {
      ...this.#options,
      read: (address, into) => this.#access(address, into.length, () => bus.dmaRead(address, into)),
      write: (address, from) => this.#access(address, from.length, () => bus.dmaWrite(address, from)),
      after: (microseconds, action) => bus.after(microseconds, action),
      report: (address, size, reason) => bus.report(address, size, 'read', reason),
      updateInterrupt: () => this.#updateInterrupts(),
      resetCore: () => this.#softReset(),
    };
  }

  /** If there is no memory, the interconnect tells the core. */
  #access(address: bigint, length: number, access: () => boolean): Response {
    const { broken } = this;
    if (broken !== undefined && address <= broken.end && address + BigInt(length) > broken.start) {
      return 'SLVERR';
    }
    return access() ? 'OKAY' : 'DECERR';
  }

  /** PG021, "Resets": a reset by either channel resets the core and its streams. */
  #softReset(): void {
    this.#mm2s.beginReset();
    this.#s2mm.beginReset();
    this.#bus.after(RESET_TIME, () => this.reset());
  }

  /** Sends a message at each rising edge. The line is up while either channel wants it. */
  #updateInterrupts(): void {
    const levels = [this.#mm2s.interrupt, this.#s2mm.interrupt];
    const before = this.#levels;
    this.#levels = levels;
    for (const [vector, level] of levels.entries()) {
      if (level && !before[vector]) this.#bus.raise(vector);
    }
    if (!levels.includes(true) && before.includes(true)) this.#bus.lower();
  }
}

/** An AXI DMA in a simulated machine. */
export function simulateAxiDma(
  options: AxiDmaModelOptions = {},
  machine: SimulateOptions = {},
): SimulatedSource<AxiDmaModel> {
  return simulate(new AxiDmaModel(options), machine);
}
