/** Registers as a device reaches them by DMA: the model notes which one was accessed last. */
import type { DmaDirection, PciFunction, StreamingMapping } from '../../lib/index.ts';
import { Master } from '../master.ts';
import { answer, BAR_SIZE, DIRECTIONS, type Request, type Response, refusal } from './protocol.ts';

/** A device with as many registers as edu. */
export class Registers extends Master {
  override readonly bars = [{ index: 0, size: BAR_SIZE }];
  /** The offset of the register that was read or written last. */
  accessed = -1;

  override read(_bar = 0, offset = 0): number {
    this.accessed = offset;
    return 0;
  }

  override write(_bar = 0, offset = 0): void {
    this.accessed = offset;
  }
}

interface Live {
  readonly mapping: StreamingMapping;
  readonly direction: DmaDirection;
}

/** The library's side of requests for registers (module/registers.c). */
export class ResourceSide {
  readonly #fn: PciFunction;
  readonly #model: Registers;
  readonly #live = new Map<number, Live>();

  constructor(fn: PciFunction, model: Registers) {
    this.#fn = fn;
    this.#model = model;
  }

  holds(slot: number): boolean {
    return this.#live.has(slot);
  }

  map({ slot = 0, offset = 0, size = 0, dir = 0, attrs = 0 }: Request): Response {
    const { dma } = this.#fn;
    const direction = DIRECTIONS[dir]!;
    const mapping = dma.mapResource(this.#fn.bar(0), offset, size, direction, attrs);
    this.#live.set(slot, { mapping, direction });
    return answer(mapping.dmaAddress, dma.needSync(mapping));
  }

  unmap({ slot = 0, attrs = 0 }: Request): Response {
    this.#live.get(slot)!.mapping.unmap(attrs);
    this.#live.delete(slot);
    return answer();
  }

  /** The register that the device reaches at an offset of the mapping. */
  reach({ slot = 0, offset = 0 }: Request): Response {
    const { mapping, direction } = this.#live.get(slot)!;
    const { bus } = this.#model;
    const address = mapping.dmaAddress + BigInt(offset);
    const word = new Uint8Array(1);
    const reached = direction === 'from-device' ? bus.dmaWrite(address, word) : bus.dmaRead(address, word);
    return reached ? answer(BigInt(this.#model.accessed)) : refusal(-14);
  }
}
