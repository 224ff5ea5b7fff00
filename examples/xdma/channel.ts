/**
 * A channel: transfers between memory of the program and addresses of the card, one after the other, by one engine.
 * Memory is lent for one transfer. It goes back when the engine is idle; if the engine does not become idle, when the
 * driver has taken bus mastering from the card.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type DmaDevice, DmaError, type SgMapping } from '../../lib/index.ts';
import { DESCRIPTOR_COUNT, type Engine, type Run } from './engine.ts';

/** How a channel wants addresses and lengths: what its alignment register says. */
export interface Alignment {
  /** Addresses of host and card are multiples of it. */
  readonly address: number;
  /** Lengths are multiples of it. */
  readonly length: number;
  /** Bits of an address that it can put on the bus. */
  readonly addressBits: number;
}

export interface ChannelOptions {
  /** Milliseconds that a page of descriptors may take. */
  readonly timeout: number;
  /** Whether to poll memory instead of waiting for an interrupt. */
  readonly polls: boolean;
}

/** Views of memory: one, or a list that is transferred as one run of the card's addresses. */
export type Memory = ArrayBufferView | readonly ArrayBufferView[];

/** A DMA channel of the core. */
export class Channel {
  /** What the channel wants of addresses and lengths. */
  readonly alignment: Alignment;
  readonly #engine: Engine;
  readonly #dma: DmaDevice;
  readonly #options: ChannelOptions;
  readonly #giveUp: (error: DmaError) => void;
  /** Ends when the last transfer does. */
  #tail: Promise<unknown> = Promise.resolve();
  /** The wait of the running transfer. */
  #wait: { check(): void; reject(error: DmaError): void } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: DmaError | undefined;

  /** @param giveUp called when the engine does not stop: takes bus mastering from the card, for all channels */
  constructor(
    engine: Engine,
    dma: DmaDevice,
    alignment: Alignment,
    options: ChannelOptions,
    giveUp: (error: DmaError) => void,
  ) {
    this.alignment = alignment;
    this.#engine = engine;
    this.#dma = dma;
    this.#options = options;
    this.#giveUp = giveUp;
  }

  /** `h2c0`, `c2h1` and so on. */
  get name(): string {
    return this.#engine.name;
  }

  /** After all earlier transfers of this channel. @param card address on the card's AXI bus @throws DmaError as Xdma.read */
  transfer(card: number, memory: Memory): Promise<void> {
    // A copy: the caller may change its list before this transfer starts.
    const views = Array.isArray(memory) ? [...memory] : [memory as ArrayBufferView];
    const end = this.#tail.then(() => this.#transfer(card, views));
    this.#tail = end.catch(() => {});
    return end;
  }

  /** The device interrupted, perhaps for this channel. */
  interrupted(): void {
    this.#wait?.check();
  }

  /** End the running transfer, and all later ones, with this error. Settles when the engine is idle or given up. */
  async fail(error: DmaError): Promise<void> {
    this.#failure ??= error;
    this.#wait?.reject(error);
    await this.#tail;
  }

  /** The engine can do no DMA any more. */
  free(): void {
    this.#engine.free();
  }

  async #transfer(card: number, views: readonly ArrayBufferView[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#check(card, views);
    const mapping = this.#dma.mapSg(views, this.#engine.way === 'h2c' ? 'to-device' : 'from-device');
    try {
      const runs = runsOf(mapping.segments, card);
      for (let at = 0; at < runs.length; at += DESCRIPTOR_COUNT) {
        await this.#run(runs.slice(at, at + DESCRIPTOR_COUNT));
      }
    } finally {
      mapping.unmap();
    }
  }

  async #run(runs: readonly Run[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const failures: unknown[] = [];
    try {
      this.#engine.start(runs);
      await (this.#options.polls ? this.#poll() : this.#sleep());
    } catch (error) {
      failures.push(error);
    }
    // The memory goes back after this, so the engine stops first, whatever has failed.
    const stopped = await this.#stop(failures.find((error) => error instanceof DmaError));
    if (failures.length > 0) throw failures[0];
    if (stopped !== undefined) throw stopped;
  }

  /** The engine is idle, or the card may do no DMA, when it settles. @returns why it was given up */
  async #stop(cause: DmaError | undefined): Promise<DmaError | undefined> {
    try {
      if (await this.#engine.halt()) return undefined;
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
      cause ??= error;
    }
    const error =
      cause ??
      new DmaError('EIO', `${this.name} does not stop`, { remedy: 'call reset(), or close the device' });
    this.#giveUp(error);
    return error;
  }

  async #poll(): Promise<void> {
    const end = performance.now() + this.#options.timeout;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#engine.maybeDone && this.#engine.look()) return;
      if (performance.now() > end) {
        if (this.#engine.look()) return;
        throw this.#late();
      }
      await nextTurn();
    }
  }

  #sleep(): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const look = (orElse: () => void): void => {
        try {
          if (this.#engine.look()) resolve();
          else orElse();
        } catch (error) {
          reject(error);
        }
      };
      // The interrupt may be lost: at the end of the time the device is asked once.
      this.#timer = setTimeout(() => look(() => reject(this.#late())), this.#options.timeout);
      this.#wait = { check: () => look(() => {}), reject };
    }).finally(() => {
      clearTimeout(this.#timer);
      this.#wait = undefined;
    });
  }

  #late(): DmaError {
    return new DmaError('ETIMEDOUT', `${this.name} did not end in ${this.#options.timeout} ms`, {
      remedy: 'call reset(), or look whether the card has memory at the address',
    });
  }

  #check(card: number, views: readonly ArrayBufferView[]): void {
    const { address, length } = this.alignment;
    if (!Number.isSafeInteger(card) || card < 0 || card % address !== 0) {
      const wanted = address === 1 ? 'a whole number from 0' : `a multiple of ${address}`;
      throw new DmaError('EINVAL', `the card's address is ${String(card)}`, { remedy: `pass ${wanted}` });
    }
    for (const view of views) {
      if (!ArrayBuffer.isView(view) || view.byteLength === 0 || view.byteLength % length !== 0) {
        throw new DmaError('EINVAL', `${this.name} cannot transfer ${view?.byteLength} bytes`, {
          remedy: `pass views whose length is a multiple of ${length}, and not 0`,
        });
      }
    }
  }
}

function runsOf(segments: SgMapping['segments'], card: number): Run[] {
  let at = card;
  return segments.map(({ low, high, length }) => {
    const run = { low, high, length, card: at };
    at += length;
    return run;
  });
}
