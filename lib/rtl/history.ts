/**
 * Who wrote a byte of memory: the newest write bursts of a design, the mapping that each write went to, and the line of the
 * driver that made it.
 *
 *      burst      its beats, with clock and strobes       from the bridge, before the bytes
 *      wrote      the bytes, and how the bus answered     from the bus
 *      reached    the mapping they belong to              from dma-debug, which may come later: a device can lag
 */
import type { ReachedMemory } from '../debug/observer.ts';
import type { DmaEntry } from '../dma/debug-view.ts';
import { RESPONSE, type WriteBurst } from './simulator.ts';

/** One write to one byte. `String()` of it is a line for people. */
export interface ByteWrite {
  /** The clock in which the design gave the byte. */
  readonly clock: number;
  /** The byte's bus address. */
  readonly iova: bigint;
  readonly value: number;
  /** Which beat of which burst, from 1 on; undefined where the simulator does not tell. */
  readonly beat: BeatOfBurst | undefined;
  /** False: the bus refused it, and memory did not change. */
  readonly written: boolean;
  /** What the driver had made there; undefined for nothing, and without dma-debug. */
  readonly mapping: DmaEntry | undefined;
  /** Whether the driver had ended that mapping before the write. */
  readonly over: boolean;
}

/** The beat of a write burst that wrote a byte. */
export interface BeatOfBurst {
  /** Prefix of the AXI4 master's signals. */
  readonly port: string;
  /** AWADDR and the number of beats. */
  readonly address: bigint;
  readonly beats: number;
  readonly number: number;
  /** WSTRB of the beat: one bit for each byte of the data bus. */
  readonly strobes: bigint;
}

/** Strobed bytes that lie side by side, as the bus took them. */
interface Run {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly response: number;
  /** Whether dma-debug has told of it, or never will: undefined as `entry` then means that nothing was mapped there. */
  told: boolean;
  entry: DmaEntry | undefined;
  over: boolean;
}

interface Burst {
  readonly beats: WriteBurst | undefined;
  readonly clock: number;
  readonly runs: Run[];
}

/** Bursts that are looked through for the one that a late word of dma-debug is about. */
const RECENT = 64;

/** The newest write bursts of a design. */
export class WriteHistory {
  readonly #limit: number;
  /** Prefixes of the AXI4 masters. */
  ports: readonly string[] = [];
  readonly #bursts: Burst[] = [];
  #next = 0;
  #open: Burst | undefined;
  /** The address of the bytes that are being written, and what dma-debug said of them. */
  #writing: bigint | undefined;
  #reached: ReachedMemory | undefined;

  /** @param limit bursts that are remembered */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** A burst begins: the writes that follow are its bytes. */
  burst(beats: WriteBurst): void {
    this.#open = this.#push({ beats, clock: beats.clocks[0] ?? 0, runs: [] });
  }

  /** Bytes are about to be written: what dma-debug says of this address until `wrote` is about them. */
  begin(address: bigint): void {
    this.#writing = address;
    this.#reached = undefined;
  }

  /** They were. @param clock for a simulator that does not tell of bursts */
  wrote(address: bigint, bytes: Uint8Array, response: number, clock: number): void {
    const reached = this.#reached;
    this.#writing = undefined;
    this.#reached = undefined;
    if (this.#limit === 0) return;
    const open = this.#open;
    const burst =
      open?.beats !== undefined && isIn(open.beats, address)
        ? open
        : this.#push({ beats: undefined, clock, runs: [] });
    const { entry, over = false } = reached ?? {};
    // A write that was refused did not lag: of it dma-debug has nothing to say later.
    const told = reached !== undefined || response !== RESPONSE.okay;
    burst.runs.push({ address, bytes: bytes.slice(), response, told, entry, over });
  }

  /** The mapping that a write belongs to: before `wrote` as a rule, after it when the device lags. */
  reached(memory: ReachedMemory): void {
    if (memory.access !== 'write') return;
    if (BigInt(memory.address) !== this.#writing) {
      this.#tell(memory);
      return;
    }
    // Late writes to the same address arrive before this one: the last word is about this one.
    if (this.#reached !== undefined) this.#tell(this.#reached);
    this.#reached = memory;
  }

  /** The writes to the byte at this bus address, newest first. */
  of(address: bigint): ByteWrite[] {
    const found: ByteWrite[] = [];
    for (const burst of this.#newest()) {
      for (const run of burst.runs.toReversed()) {
        const at = address - run.address;
        if (at >= 0n && at < run.bytes.length) found.push(this.#describe(burst, run, address));
      }
    }
    return found;
  }

  /** The design went back to this clock: what came after it did not happen. */
  forgetAfter(clock: number): void {
    const kept = [...this.#newest()].filter((burst) => burst.clock <= clock).reverse();
    this.clear();
    for (const burst of kept) this.#push(burst);
  }

  clear(): void {
    this.#bursts.length = 0;
    this.#next = 0;
    this.#open = undefined;
    this.#writing = undefined;
    this.#reached = undefined;
  }

  /** Writes to one address arrive in the order in which they were made: it is the oldest that is not told of. */
  #tell({ address, entry, over }: ReachedMemory): void {
    const at = BigInt(address);
    let oldest: Run | undefined;
    let looked = 0;
    for (const { runs } of this.#newest()) {
      if (++looked > RECENT) break;
      oldest = runs.find((one) => !one.told && one.address === at) ?? oldest;
    }
    if (oldest === undefined) return;
    oldest.told = true;
    oldest.entry = entry;
    oldest.over = over;
  }

  #push(burst: Burst): Burst {
    this.#bursts[this.#next++ % this.#limit] = burst;
    return burst;
  }

  *#newest(): Generator<Burst> {
    const count = this.#bursts.length;
    for (let back = 1; back <= count; back++) yield this.#bursts[(this.#next - back) % this.#limit]!;
  }

  #describe({ beats, clock }: Burst, run: Run, iova: bigint): ByteWrite {
    const { bytes, address, response, entry: mapping, over } = run;
    const number = beats === undefined ? 0 : beatOf(beats, iova);
    const write: ByteWrite = {
      clock: beats?.clocks[number] ?? clock,
      iova,
      value: bytes[Number(iova - address)]!,
      beat: beats && {
        port: this.ports[beats.port] ?? '',
        address: beats.address,
        beats: beats.clocks.length,
        number: number + 1,
        strobes: beats.strobes[number] ?? 0n,
      },
      written: response === RESPONSE.okay,
      mapping,
      over,
    };
    return Object.defineProperty(write, 'toString', { value: () => describe(write) });
  }
}

/** Index of the beat that has this byte. */
function beatOf({ address, beatBytes }: WriteBurst, iova: bigint): number {
  const size = BigInt(beatBytes);
  return Number(iova / size - address / size);
}

function isIn(burst: WriteBurst, iova: bigint): boolean {
  const beat = beatOf(burst, iova);
  return beat >= 0 && beat < burst.clocks.length;
}

function describe({ clock, iova, value, beat, written, mapping, over }: ByteWrite): string {
  const what = `clock ${clock}: ${hex(value)} at ${hex(iova)}`;
  const how = beat === undefined ? '' : ` by ${describeBeat(beat)}`;
  return `${what}${how}${written ? '' : ', refused by the bus'}; ${describeMapping(mapping, over)}`;
}

function describeBeat({ port, address, beats, number, strobes }: BeatOfBurst): string {
  return `beat ${number} of ${beats} of the burst at ${hex(address)} of ${port}* (wstrb ${hex(strobes)})`;
}

function describeMapping(mapping: DmaEntry | undefined, over: boolean): string {
  if (mapping === undefined) return 'no mapping is known there';
  const { type, size, address, direction, stack } = mapping;
  const line = stack?.split('\n')[0]?.trim();
  const made = line === undefined ? '' : `, made ${line}`;
  return `${over ? 'ended: ' : ''}${type}, ${size} bytes at ${hex(address)}, ${direction}${made}`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
