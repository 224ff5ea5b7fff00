/** Memory for a simulator that is driven without a library around it: what a test does is all that happens. */
import type { DmaError } from '../../lib/index.ts';
import type { SimulatorHost, WriteBurst } from '../../lib/rtl/simulator.ts';
import { RESPONSE } from '../../lib/rtl/simulator.ts';

export class FlatMemory implements SimulatorHost {
  readonly bytes: Uint8Array;
  readonly base: bigint;
  /** Rising edges by wire, reports of the checker, bytes of streams. */
  readonly interrupts: number[] = [];
  readonly reports: string[] = [];
  readonly packets: Uint8Array[] = [];
  #packet: number[] = [];

  constructor(size = 1 << 16, base = 0x10000n) {
    this.bytes = new Uint8Array(size);
    this.base = base;
  }

  dmaRead(address: bigint, into: Uint8Array): number {
    const at = Number(address - this.base);
    if (at < 0 || at + into.length > this.bytes.length) return RESPONSE.decodeError;
    into.set(this.bytes.subarray(at, at + into.length));
    return RESPONSE.okay;
  }

  dmaWrite(address: bigint, from: Uint8Array): number {
    const at = Number(address - this.base);
    if (at < 0 || at + from.length > this.bytes.length) return RESPONSE.decodeError;
    this.bytes.set(from, at);
    return RESPONSE.okay;
  }

  burst(_burst: WriteBurst): void {}

  note(): string {
    return '';
  }

  interrupt(wire: number, level: boolean): void {
    if (level) this.interrupts.push(wire);
  }

  report(text: string): void {
    this.reports.push(text);
  }

  waveLost(error: DmaError): void {
    throw error;
  }

  streamed(_stream: number, bytes: Uint8Array, last: boolean): void {
    this.#packet.push(...bytes);
    if (last) this.packets.push(Uint8Array.from(this.#packet.splice(0)));
  }
}
