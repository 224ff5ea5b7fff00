/**
 * The seam between the library and a simulator of a design: registers, time and interrupts in one direction, memory in
 * the other. Two implementations: a process beside ours (process.ts) and a WebAssembly module in ours (wasm.ts).
 */

/** The machine around the design. Its methods run inside a call of the simulator's. */
export interface SimulatorHost {
  /**
   * Read memory.
   * @returns a member of RESPONSE: DECERR when the IOMMU refused a part of it, which then reads as zeros
   */
  dmaRead(address: bigint, into: Uint8Array): number;
  /** Write memory. @returns a member of RESPONSE */
  dmaWrite(address: bigint, from: Uint8Array): number;
  /** An interrupt wire changed: 0 is INTx, 1 + n is MSI vector n. */
  interrupt(wire: number, level: boolean): void;
  /** The design broke a rule of its bus. */
  report(text: string): void;
  /** Bytes left an AXI4-Stream master of the design, numbered in the order of the description; `last` is TLAST. */
  streamed(stream: number, bytes: Uint8Array, last: boolean): void;
}

/** What the build found out about the ports of a design. */
export interface DesignDescription {
  /** Name of the top module. */
  readonly top: string;
  /** Address bits and data bytes of the register slave. */
  readonly registers: { readonly prefix: string; readonly addressBits: number; readonly dataBytes: number };
  /** AXI4 masters. */
  readonly memories: readonly {
    readonly prefix: string;
    readonly addressBits: number;
    readonly dataBytes: number;
  }[];
  /** AXI4-Stream masters and slaves. */
  readonly sinks: readonly string[];
  readonly sources: readonly string[];
  readonly intx: boolean;
  /** MSI vectors. */
  readonly vectors: number;
  /** What waveforms it can write. */
  readonly waves: 'vcd' | 'fst' | 'none';
}

/** How the interconnect behaves. Everything that is random is so by seed. */
export interface TrafficOptions {
  /** Default 1. */
  readonly seed?: number;
  /** Percent of the clocks in which the interconnect is not ready, or holds a response back. Default 0. */
  readonly pressure?: number;
  /** Longest wait before a response, clocks. Default 0. */
  readonly latency?: number;
  /** Whether responses of different IDs may overtake each other. Default false. */
  readonly reorder?: boolean;
}

/** What the interconnect answers to a design (AMBA AXI, A3.4.4). */
export const RESPONSE = { okay: 0, slaveError: 2, decodeError: 3 } as const;

/** How a register access ended (AMBA AXI, A3.4.4): with OKAY, with an error response, or with none at all. */
export const OUTCOME = { okay: 0, error: 1, timeout: 2 } as const;

/** A window of a waveform; clocks, both ends included. */
export interface WaveWindow {
  readonly from: number;
  readonly to: number;
}

/**
 * A running simulation of one design, out of reset. Everything is synchronous.
 * Every method throws DmaError EIO when the simulator ended or answers nonsense, and ETIMEDOUT when it does not answer.
 */
export interface Simulator {
  readonly description: DesignDescription;
  /** Clocks since it was started. */
  readonly clock: number;
  /** Whether another clock could change anything by itself. */
  readonly moving: boolean;
  /** Halves of what the last `read` read. */
  readonly low: number;
  readonly high: number;

  /** Read a register of 1, 2, 4 or 8 bytes. @returns a member of OUTCOME */
  read(address: number, width: number): number;
  /** Write one. @returns a member of OUTCOME */
  write(address: number, width: number, low: number, high: number): number;
  /** Run up to so many clocks, fewer when nothing moves any more. */
  run(clocks: number): void;
  /** Reset the design and forget what was under way. The clock goes on. */
  reset(): void;
  /** Give the stream slave of that number bytes; `last` is TLAST. */
  push(stream: number, bytes: Uint8Array, last: boolean): void;
  /** A setting by name: seed, pressure, latency, reorder, limit, half, or pin.NAME for an input of the
   * design. @returns false when there is none of that name */
  set(name: string, value: number): boolean;
  /** Write waveforms to a file, from now or within a window; '' ends it. @returns false when it cannot be opened */
  waves(file: string, window: WaveWindow): boolean;
  /** Show a text in the waveform, in the scope `driver`. */
  mark(text: string): void;
  /** The whole state, where the simulator can say it. */
  snapshot?(): Uint8Array;
  restore?(state: Uint8Array): void;
  /** End it. Harmless to call twice. */
  close(): void;
}

/** A design that simulations can be made of. */
export interface Design {
  /** For messages: the file. */
  readonly name: string;
  /** @throws DmaError ENOENT no such file · EIO it is no simulator, or one of another version · ETIMEDOUT no answer */
  open(host: SimulatorHost): Simulator;
}
