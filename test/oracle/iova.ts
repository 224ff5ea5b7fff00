/** The library's side of requests that map in two steps (module/iova.c). */
import type { DmaDevice, IovaState } from '../../lib/index.ts';
import { answer, DIRECTIONS, type Part, type Request, type Response, refusal } from './protocol.ts';

const ENOMEM = -12;

export class IovaSide {
  readonly #dma: DmaDevice;
  readonly #view: (part: Part) => Uint8Array;
  readonly #live = new Map<number, IovaState>();

  constructor(dma: DmaDevice, view: (part: Part) => Uint8Array) {
    this.#dma = dma;
    this.#view = view;
  }

  holds(slot: number): boolean {
    return this.#live.has(slot);
  }

  /** The addresses of a slot. */
  get(slot: number): IovaState | undefined {
    return this.#live.get(slot);
  }

  run(request: Request): Response {
    const { op, slot = 0, size = 0, offset = 0, buffer = 0, attrs = 0, value = 0n } = request;
    if (op === 'iovaAlloc') {
      const state = this.#dma.reserveIova(size, this.#view({ buffer, offset, size: 1 }));
      if (state === null) return refusal(ENOMEM);
      this.#live.set(slot, state);
      return answer(state.dmaAddress);
    }
    const state = this.#live.get(slot)!;
    switch (op) {
      case 'iovaLink':
        state.link(Number(value), this.#view({ buffer, offset, size }), DIRECTIONS[request.dir ?? 0]!, attrs);
        break;
      case 'iovaSync':
        state.sync(offset, size);
        break;
      case 'iovaUnlink':
        state.unlink(offset, size, attrs);
        break;
      case 'iovaFree':
        state.free();
        this.#live.delete(slot);
        break;
      case 'iovaDestroy':
        state.destroy();
        this.#live.delete(slot);
        break;
    }
    return answer();
  }
}
