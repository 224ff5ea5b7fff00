/**
 * A device that lies, by seed, in everything that a device may return: what its registers read, what it writes to memory
 * (descriptors, completions, lengths, identities, data) and where, its interrupts, and the time that all of it takes. It
 * also ignores registers that the driver writes. How much it lies of what is drawn once; it is honest while `lying` is false.
 */
import type { DeviceModel, Width } from '../../lib/sim/index.ts';
import type { Random } from '../random.ts';
import { WrappedModel, wholeAddress } from './wrap.ts';

/** One lie in so many answers; 0: never. */
const RATES = [0, 0, 2, 5, 20, 100];
/** Accesses to memory that the device remembers. */
const REMEMBERED = 16;
/** Answers for which a register keeps its lie: a few, or longer than a driver has patience. */
const STUCK = [1, 10, 100, 1000, 300_000];
const WORDS = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/** What it lies in; whims are what the driver did not ask for. */
type Kind = 'reads' | 'writes' | 'memory' | 'interrupts' | 'time' | 'whims';

interface Place {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

export class Liar<M extends DeviceModel = DeviceModel> extends WrappedModel<M> {
  #lying = false;
  readonly #random: Random;
  readonly #rates: Readonly<Record<Kind, number>>;
  readonly #vectors: number;
  /** Lies that a register keeps, by its offset. */
  readonly #stuck = new Map<number, { readonly value: number; left: number }>();
  readonly #before = new Map<number, number>();
  readonly #places: Place[] = [];
  /** What the device does too late, unless it becomes honest before. */
  readonly #late = new Set<() => void>();

  constructor(model: M, random: Random) {
    super(model);
    this.#random = random;
    this.#vectors = Math.max(1, model.config.msi ?? 0, model.config.msix?.vectors ?? 0);
    const rate = (): number => RATES[random.below(RATES.length)]!;
    this.#rates = {
      reads: rate(),
      writes: random.below(3) === 0 ? rate() : 0,
      memory: rate(),
      interrupts: rate(),
      time: random.below(3) === 0 ? rate() : 0,
      whims: rate(),
    };
  }

  get lying(): boolean {
    return this.#lying;
  }

  /** A device that is honest again does at once what it has put off, so that nothing of it comes later. */
  set lying(lying: boolean) {
    this.#lying = lying;
    if (!lying) for (const action of this.#late) action();
  }

  override reset(): void {
    this.#late?.clear();
    super.reset();
  }

  override read(bar: number, offset: number, width: Width): number {
    const truth = super.read(bar, offset, width);
    const stuck = this.#stuck.get(offset);
    if (this.#lying && stuck !== undefined && stuck.left-- > 0) return stuck.value % 2 ** (8 * width);
    const answer = this.#lies('reads') ? this.#register(offset, truth, width) : truth;
    this.#before.set(offset, truth);
    return answer;
  }

  override write(bar: number, offset: number, width: Width, value: number): void {
    if (!this.#lies('writes')) super.write(bar, offset, width, value);
    if (this.#lies('whims')) this.#whim();
  }

  protected override dmaRead(address: bigint | number, into: Uint8Array, high?: number): boolean {
    this.#remember(wholeAddress(address, high), into);
    return super.dmaRead(address, into, high);
  }

  protected override dmaWrite(address: bigint | number, from: Uint8Array, high?: number): boolean {
    const place = { address: wholeAddress(address, high), bytes: Uint8Array.from(from) };
    this.#remember(place.address, from);
    return this.#lies('memory') ? this.#writeElse(place) : this.#put(place);
  }

  protected override raise(vector = 0): void {
    if (!this.#lies('interrupts')) super.raise(vector);
    else if (this.#random.below(3) === 0) this.#raiseAny();
    else if (this.#random.below(2) === 0) this.#later(() => super.raise(vector));
  }

  protected override after(microseconds: number, action: () => void): void {
    if (!this.#lies('time')) {
      super.after(microseconds, action);
      return;
    }
    const once = (): void => {
      if (this.#late.delete(once)) action();
    };
    this.#late.add(once);
    super.after(microseconds * 10 ** (this.#random.below(9) - 3), once);
  }

  #lies(what: Kind): boolean {
    const rate = this.#rates[what];
    return this.#lying && rate > 0 && this.#random.below(rate) === 0;
  }

  #register(offset: number, truth: number, width: Width): number {
    const random = this.#random;
    const values = 2 ** (8 * width);
    const lie = [
      () => values - 1,
      () => 0,
      () => truth ^ (1 << random.below(8 * width)),
      () => random.below(values),
      () => this.#before.get(offset) ?? 0,
      () => truth + 1 - 2 * random.below(2),
    ][random.below(6)]!;
    const value = (((lie() % values) + values) % values) >>> 0;
    if (random.below(4) === 0) this.#stuck.set(offset, { value, left: STUCK[random.below(STUCK.length)]! });
    return value;
  }

  /** Write something else, somewhere else, later, twice or never. */
  #writeElse(place: Place): boolean {
    const random = this.#random;
    const { address, bytes } = place;
    switch (random.below(10)) {
      case 0:
        return true;
      case 1:
        return this.#put(place) && this.#put(place);
      case 2:
        this.#later(() => this.#put(place));
        return true;
      case 3:
        return this.#put({ address, bytes: bytes.subarray(0, random.below(bytes.length + 1)) });
      case 4:
        return this.#put({ address, bytes: Buffer.concat([bytes, random.bytes(1 + random.below(64))]) });
      case 5:
        return this.#put({ address: this.#elsewhere(address), bytes });
      case 6:
        return this.#put({ address, bytes: random.bytes(bytes.length) });
      default:
        return this.#put({ address, bytes: this.#distort(bytes) });
    }
  }

  /** A field of 8, 16 or 32 bits has another value. */
  #distort(bytes: Uint8Array): Uint8Array {
    const random = this.#random;
    const fields = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const width = [1, 2, 4][random.below(3)]!;
    const count = Math.floor(bytes.length / width);
    if (count === 0) return bytes;
    const at = random.below(count) * width;
    const word = random.below(2) === 0 ? WORDS[random.below(WORDS.length)]! : random.below(2 ** 32);
    if (width === 1) fields.setUint8(at, word);
    else if (width === 2) fields.setUint16(at, word, true);
    else fields.setUint32(at, random.below(3) === 0 ? fields.getUint32(at, true) + 1 : word, true);
    return bytes;
  }

  /** Something that the driver did not ask for. */
  #whim(): void {
    const random = this.#random;
    const place = this.#places[random.below(REMEMBERED)];
    if (place === undefined || random.below(3) === 0) this.#raiseAny();
    else if (random.below(2) === 0) this.#put(place);
    else this.#writeElse({ address: place.address, bytes: Uint8Array.from(place.bytes) });
  }

  #raiseAny(): void {
    super.raise(this.#random.below(this.#vectors));
  }

  #elsewhere(address: bigint): bigint {
    const random = this.#random;
    const other = this.#places[random.below(REMEMBERED)]?.address ?? address;
    const places = [other, address + 64n, address - 64n, address + 4096n, BigInt(random.below(2 ** 32))];
    const place = places[random.below(places.length)]!;
    return place < 0n ? 0n : place;
  }

  #put({ address, bytes }: Place): boolean {
    return bytes.length === 0 || super.dmaWrite(address, bytes);
  }

  #later(action: () => void): void {
    super.after(1 + this.#random.below(1000), () => {
      if (this.#lying) action();
    });
  }

  #remember(address: bigint, bytes: Uint8Array): void {
    if (!this.#lying) return;
    this.#places[this.#random.below(REMEMBERED)] = { address, bytes: Uint8Array.from(bytes.subarray(0, 64)) };
  }
}
