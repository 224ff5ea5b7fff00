/** The design in bus.v, driven without a library around it: memory for each of its masters, and what left its streams. */
import { join } from 'node:path';
import type { Design } from '../../../lib/rtl/index.ts';
import { RESPONSE, type Simulator } from '../../../lib/rtl/simulator.ts';
import { built, missing, TARGETS, type Target } from '../designs.ts';
import { FlatMemory } from '../memory.ts';

const OPTIONS = {
  sources: ['bus', 'mover', 'order', 'slice'].map((file) => join('test', 'rtl', 'bus', `${file}.v`)),
  top: 'bus',
} as const;

export function busDesign(target: Target): Promise<Design> {
  return built('bus', target, OPTIONS);
}

/** Built before the first test begins. */
if (missing === undefined) for (const target of TARGETS) await busDesign(target);

/** The masters of bus.v, in their order. */
export const MOVERS = [
  { name: 'm32', bytes: 4, addressBits: 32 },
  { name: 'm64', bytes: 8, addressBits: 36 },
  { name: 'm128', bytes: 16, addressBits: 40 },
  { name: 'm256', bytes: 32, addressBits: 49 },
  { name: 'm512', bytes: 64, addressBits: 64 },
] as const;
export type Mover = (typeof MOVERS)[number];

/** The streams of bus.v, in their order. */
export const STREAMS = [
  ...[1, 2, 3, 4, 8, 16, 32, 64].map((bytes) => ({ name: String(8 * bytes), bytes, keep: true })),
  { name: 'plain', bytes: 4, keep: false },
] as const;

export const BEHAVIOURS = [
  { what: 'without back-pressure', settings: {} },
  { what: 'with back-pressure', settings: { seed: 5, pressure: 35, latency: 12, reorder: 1 } },
] as const;

/** Half of it is the source, the other half ends where the addresses of a mover do. */
export const SIZE = 1 << 14;
export const HALF = SIZE / 2;

/** Memory at the end of the addresses of each mover, and what left each stream. */
export class Bus extends FlatMemory {
  readonly memories = MOVERS.map(
    ({ addressBits }) => new FlatMemory(SIZE, 2n ** BigInt(addressBits) - BigInt(SIZE)),
  );
  readonly sent = STREAMS.map((): number[] => []);
  readonly ends = STREAMS.map((): number[] => []);

  override dmaRead(address: bigint, into: Uint8Array): number {
    return this.#memoryAt(address)?.dmaRead(address, into) ?? RESPONSE.decodeError;
  }

  override dmaWrite(address: bigint, from: Uint8Array): number {
    return this.#memoryAt(address)?.dmaWrite(address, from) ?? RESPONSE.decodeError;
  }

  override streamed(stream: number, bytes: Uint8Array, last: boolean): void {
    this.sent[stream]!.push(...bytes);
    if (last) this.ends[stream]!.push(this.sent[stream]!.length);
  }

  #memoryAt(address: bigint): FlatMemory | undefined {
    const inside = ({ base, bytes }: FlatMemory) => address >= base && address < base + BigInt(bytes.length);
    return this.memories.find(inside);
  }
}

export async function open(
  target: Target,
  settings: Readonly<Record<string, number>> = {},
): Promise<{ simulator: Simulator; bus: Bus }> {
  const bus = new Bus();
  const simulator = (await busDesign(target)).open(bus);
  for (const [name, value] of Object.entries({ limit: 1000, ...settings })) simulator.set(name, value);
  return { simulator, bus };
}

export function writeWord(simulator: Simulator, port: number, word: number, value: bigint): void {
  simulator.write(32 * port + 8 * word, 8, Number(value & 0xffff_ffffn), Number(value >> 32n));
}

export function readWord(simulator: Simulator, port: number, word: number): bigint {
  simulator.read(32 * port + 8 * word, 8);
  return (BigInt(simulator.high) << 32n) | BigInt(simulator.low);
}

export interface Copy {
  readonly length: number;
  /** Offsets in the two halves of the memory. */
  readonly source: number;
  readonly destination: number;
  /** log2 of the bytes of a beat. */
  readonly size: number;
  readonly mostBeats?: number;
}

export function start(simulator: Simulator, { memories }: Bus, port: number, copy: Copy): void {
  const { length, source, destination, size, mostBeats = 256 } = copy;
  const { base } = memories[port]!;
  writeWord(simulator, port, 0, base + BigInt(source));
  writeWord(simulator, port, 1, base + BigInt(HALF + destination));
  writeWord(simulator, port, 2, BigInt(length + size * 2 ** 16 + (mostBeats - 1) * 2 ** 24));
  writeWord(simulator, port, 3, 1n);
}

/** Until the design rests. */
export function finish(simulator: Simulator): void {
  while (simulator.moving) simulator.run(100_000);
}
