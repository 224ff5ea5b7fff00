/**
 * The seam between the library and a simulator of a design: registers, time and interrupts in one direction, memory
 * in the other. There are two implementations: a separate process (process.ts), and a WebAssembly module in this
 * process (wasm.ts).
 */
import type { DmaError } from '../errors.ts';

/** A write burst of the design, beat by beat. */
export interface WriteBurst {
  /** Number of the AXI4 master, in the order of the description. */
  readonly port: number;
  /** AWADDR, and bytes of a beat by AWSIZE. */
  readonly address: bigint;
  readonly beatBytes: number;
  /** Of each beat: the clock in which it was taken, and its strobes, one bit for each byte of the data bus. */
  readonly clocks: readonly number[];
  readonly strobes: readonly bigint[];
}

/** The machine around the design. Its methods run inside a call of the simulator. */
export interface SimulatorHost {
  /**
   * Read memory.
   * @returns a member of RESPONSE. DECERR means that the IOMMU refused a part of it, which then reads as zeros.
   */
  dmaRead(address: bigint, into: Uint8Array): number;
  /** Write memory. @returns a member of RESPONSE */
  dmaWrite(address: bigint, from: Uint8Array): number;
  /** The beats of the write burst whose bytes the next calls of `dmaWrite` have. Only with the setting `history`. */
  burst(burst: WriteBurst): void;
  /** Asked after each access of memory: what the waveform shall show of it; '' for nothing. */
  note(): string;
  /** An interrupt wire changed: 0 is INTx, 1 + n is MSI vector n. */
  interrupt(wire: number, level: boolean): void;
  /** The design broke a rule of its bus. */
  report(text: string): void;
  /** Bytes left an AXI4-Stream master of the design, numbered in the order of the description; `last` is TLAST. */
  streamed(stream: number, bytes: Uint8Array, last: boolean): void;
  /** The file of the waveform takes no more, e.g. because the disk is full. Recording has ended; the design goes on. */
  waveLost(error: DmaError): void;
}

/** The facts about the ports of a design, which the build found. */
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
  /** The kind of waveforms that it can write. */
  readonly waves: 'vcd' | 'fst' | 'none';
}

/** The behaviour of the interconnect. All random decisions follow from the seed. */
export interface TrafficOptions {
  /** Default 1. */
  readonly seed?: number;
  /** The percentage of clocks in which the interconnect is not ready, or holds a response back. Default 0. */
  readonly pressure?: number;
  /** The longest wait before a response, in clocks. Default 0. */
  readonly latency?: number;
  /** True if responses of different IDs may overtake each other. Default false. */
  readonly reorder?: boolean;
}

/** The answers of the interconnect to a design (AMBA AXI, A3.4.4). */
export const RESPONSE = { okay: 0, slaveError: 2, decodeError: 3 } as const;

/** The end of a register access (AMBA AXI, A3.4.4): OKAY, an error response, or no response. */
export const OUTCOME = { okay: 0, error: 1, timeout: 2 } as const;

/** A part of a waveform, in clocks, both ends included. */
export interface WaveWindow {
  readonly from: number;
  readonly to: number;
}

/**
 * A running simulation of one design, out of reset. All calls are synchronous. Every method throws DmaError EIO if
 * the simulator ended or its answers cannot be right, and ETIMEDOUT if it does not answer.
 */
export interface Simulator {
  readonly description: DesignDescription;
  /** Clocks since it was started. */
  readonly clock: number;
  /** True if another clock could change anything without an input. */
  readonly moving: boolean;
  /** The halves of the value of the last `read`. */
  readonly low: number;
  readonly high: number;

  /** Read a register of 1, 2, 4 or 8 bytes. @returns a member of OUTCOME */
  read(address: number, width: number): number;
  /** Write one. @returns a member of OUTCOME */
  write(address: number, width: number, low: number, high: number): number;
  /** Run up to so many clocks, and fewer if nothing moves any more. */
  run(clocks: number): void;
  /** Reset the design and drop everything under way. The clock counter continues. */
  reset(): void;
  /** Push bytes to the stream slave of that number; `last` is TLAST. */
  push(stream: number, bytes: Uint8Array, last: boolean): void;
  /**
   * A setting by name: seed, pressure, latency, reorder, limit, half, history, or pin.NAME for an input of the design.
   * @returns false if the name does not exist
   */
  set(name: string, value: number): boolean;
  /**
   * Write waveforms to a file, from now on or within a window; '' ends it. An open waveform ends first, in its own
   * file. @returns false if the file cannot be opened
   */
  waves(file: string, window: WaveWindow): boolean;
  /** Show a text in the waveform, in the scope `driver`. */
  mark(text: string): void;
  /** The whole state in pieces, which nobody changes, if the simulator can provide it. */
  snapshot?(): readonly Uint8Array[];
  /** Puts the design back into a state that `snapshot` returned. */
  restore?(state: readonly Uint8Array[]): void;
  /** End the simulation. Calling it twice is harmless. */
  close(): void;
}

/** A design from which simulations can be made. */
export interface Design {
  /** The file, for messages. */
  readonly name: string;
  /**
   * @throws DmaError ENOENT the file does not exist · EIO it is not a simulator, or one of another version ·
   *   ETIMEDOUT no answer
   */
  open(host: SimulatorHost): Simulator;
}
