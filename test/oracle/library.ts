/**
 * The library's side: the same requests through a DmaDevice, in a simulated machine. The rules that are compared are
 * those of lib/dma, which are the same above VFIO and above a simulation; and here the device needs no hardware to
 * write a byte. Without an IOMMU only memory of the device has an address, so the buffers are such memory there.
 */
import {
  type CoherentBuffer,
  DmaError,
  type NoncoherentBuffer,
  openPci,
  type PciFunction,
  type SgMapping,
  type StreamingMapping,
} from '../../lib/index.ts';
import type { IovaRange } from '../../lib/iommu/address-space.ts';
import { simulate } from '../../lib/sim/index.ts';
import { fill, hash } from './bytes.ts';
import { IovaSide } from './iova.ts';
import { PoolSide } from './pools.ts';
import {
  ALLOCATORS,
  answer,
  BUFFER_SIZE,
  BUFFERS,
  DIRECTIONS,
  type Part,
  type Request,
  type Response,
  refusal,
} from './protocol.ts';
import { Registers, ResourceSide } from './registers.ts';
import { type Setting, simulation } from './settings.ts';

const NONE: readonly never[] = [];

function range<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

type Memory = CoherentBuffer | NoncoherentBuffer;

export class Library {
  readonly fn: PciFunction;
  readonly #model: Registers;
  readonly #buffers: readonly Uint8Array[];
  /** The memory of the device that the buffers are in, if they are. */
  readonly #held: readonly NoncoherentBuffer[];
  readonly #mappings = new Map<number, StreamingMapping>();
  /** The mappings that ended last, which a driver may use once more by mistake. */
  readonly #ended = new Map<number, StreamingMapping>();
  readonly #lists = new Map<number, SgMapping>();
  readonly #memory = new Map<number, Memory>();
  readonly #pools: PoolSide;
  readonly #resources: ResourceSide;
  readonly #iova: IovaSide;

  private constructor(fn: PciFunction, model: Registers, { translated }: Setting) {
    this.fn = fn;
    this.#model = model;
    this.#pools = new PoolSide(fn.dma);
    this.#resources = new ResourceSide(fn, model);
    this.#iova = new IovaSide(fn.dma, (part) => this.#view(part));
    fn.setMaster();
    const held = translated
      ? NONE
      : range(BUFFERS, () => fn.dma.allocNoncoherent(BUFFER_SIZE, 'bidirectional'));
    this.#held = held;
    this.#buffers = range(BUFFERS, (i) => held[i]?.bytes ?? new Uint8Array(BUFFER_SIZE));
  }

  /** @param debug whether dma-debug is on */
  static async open(setting: Setting, memory: readonly IovaRange[], debug: boolean): Promise<Library> {
    const model = new Registers();
    const fn = await openPci(simulate(model, simulation(setting, memory)), {
      streaming: { copybreak: setting.copybreak, bounce: { force: setting.forced } },
      debug: debug ? { print: false } : false,
    });
    return new Library(fn, model, setting);
  }

  /** The kinds of the reports of dma-debug since the last call. */
  takeReports(): string[] {
    const { debug } = this.fn.dma;
    const kinds = debug?.reports.map(({ kind }) => kind as string) ?? [];
    debug?.clear();
    return kinds;
  }

  /** The driver goes. What it mapped and allocated stays until the function is closed. */
  close(): void {
    for (const buffer of this.#held) buffer.free();
    this.fn.close();
  }

  run(request: Request): Response {
    try {
      return this.#run(request);
    } catch (error) {
      if (!(error instanceof DmaError)) throw error;
      return refusal(error.errno);
    }
  }

  /** Whether the mapping, the list or the memory of this slot lives. */
  holds(slot: number): boolean {
    const kinds = [this.#mappings, this.#lists, this.#memory];
    return kinds.some((kind) => kind.has(slot)) || this.#resources.holds(slot) || this.#iova.holds(slot);
  }

  /** Whether this block of a pool is allocated. */
  holdsBlock(block: number): boolean {
    return this.#pools.holdsBlock(block);
  }

  #run(request: Request): Response {
    const { dma } = this.fn;
    const { op, slot = 0, offset = 0, size = 0, attrs = 0, arg = 0, value = 0n } = request;
    const direction = DIRECTIONS[request.dir ?? 0]!;
    switch (op) {
      case 'setMask':
        dma.setMask(value);
        return answer();
      case 'setCoherentMask':
        dma.setCoherentMask(value);
        return answer();
      case 'setLimits':
        dma.limits.maxSegmentSize = size;
        dma.limits.segmentBoundary = Number(value);
        dma.limits.minAlignMask = offset;
        return answer();
      case 'readLimits': {
        const { maxMappingSize, optMappingSize, mergeBoundary } = dma.limits;
        const values = [maxMappingSize, optMappingSize, mergeBoundary].map(BigInt);
        const error = dma.addressingLimited ? 1 : 0;
        return { error, values: [dma.requiredMask, ...values], segments: NONE };
      }
      case 'fill':
        fill(this.#view(request), Number(value));
        return answer();
      case 'hash':
        return answer(hash(this.#view(request)));
      case 'map': {
        const mapping = dma.mapSingle(this.#view(request), direction, attrs);
        this.#mappings.set(slot, mapping);
        return answer(mapping.dmaAddress, dma.needSync(mapping));
      }
      case 'unmap': {
        const mapping = this.#mapping(request);
        mapping.unmap(attrs);
        this.#mappings.delete(slot);
        this.#ended.set(slot, mapping);
        return answer();
      }
      case 'syncForCpu':
        this.#mapping(request).syncForCpu(offset, size);
        return answer();
      case 'syncForDevice':
        this.#mapping(request).syncForDevice(offset, size);
        return answer();
      case 'mapList': {
        const list = dma.mapSg(
          request.parts!.map((part) => this.#view(part)),
          direction,
          attrs,
        );
        this.#lists.set(slot, list);
        const segments = list.segments.map(({ dmaAddress, length }) => ({
          address: dmaAddress,
          size: length,
        }));
        return { error: 0, values: NONE, segments };
      }
      case 'unmapList': {
        const list = this.#lists.get(slot)!;
        this.#lists.delete(slot);
        list.unmap(attrs);
        return answer();
      }
      case 'syncListForCpu':
        this.#lists.get(slot)!.syncForCpu();
        return answer();
      case 'syncListForDevice':
        this.#lists.get(slot)!.syncForDevice();
        return answer();
      case 'deviceWrite':
      case 'deviceHash':
        return this.#access(request);
      case 'alloc': {
        const memory = this.#allocate(size, arg, direction);
        this.#memory.set(slot, memory);
        const clear = memory.bytes.every((byte) => byte === 0);
        memory.bytes.fill(0x5a);
        return answer(memory.dmaAddress, clear);
      }
      case 'free':
        this.#memory.get(slot)!.free();
        this.#memory.delete(slot);
        return answer();
      case 'poolCreate':
        return this.#pools.create(request);
      case 'poolDestroy':
        return this.#pools.destroy(request);
      case 'poolAlloc':
        return this.#pools.alloc(request);
      case 'poolFree':
        return this.#pools.free(request);
      case 'mapResource':
        return this.#resources.map(request);
      case 'unmapResource':
        return this.#resources.unmap(request);
      case 'reach':
        return this.#resources.reach(request);
      default:
        return this.#iova.run(request);
    }
  }

  #mapping({ slot = 0, arg = 0 }: Request): StreamingMapping {
    return (arg === 0 ? this.#mappings : this.#ended).get(slot)!;
  }

  #view({ buffer = 0, offset = 0, size = 0 }: Partial<Part>): Uint8Array {
    return this.#buffers[buffer]!.subarray(offset, offset + size);
  }

  #allocate(size: number, arg: number, direction: (typeof DIRECTIONS)[number]): Memory {
    const { dma } = this.fn;
    const allocator = ALLOCATORS[arg]!;
    if (allocator === 'coherent') return dma.allocCoherent(size);
    return allocator === 'pages' ? dma.allocPages(size, direction) : dma.allocNoncoherent(size, direction);
  }

  /** [offset, offset + size) of a mapping, of memory, or of a list as if its segments were one. */
  #access({ op, slot = 0, offset = 0, size = 0, value = 0n }: Request): Response {
    const bytes = new Uint8Array(size);
    if (op === 'deviceWrite') fill(bytes, Number(value));
    let at = 0;
    let skip = offset;
    for (const segment of this.#segments(slot)) {
      if (at === size) break;
      if (skip >= segment.length) {
        skip -= segment.length;
        continue;
      }
      const length = Math.min(segment.length - skip, size - at);
      const address = segment.address + BigInt(skip);
      const piece = bytes.subarray(at, at + length);
      const { bus } = this.#model;
      const reached = op === 'deviceWrite' ? bus.dmaWrite(address, piece) : bus.dmaRead(address, piece);
      if (!reached) return refusal(-14);
      at += length;
      skip = 0;
    }
    return op === 'deviceWrite' ? answer() : answer(hash(bytes));
  }

  #segments(slot: number): readonly { readonly address: bigint; readonly length: number }[] {
    const list = this.#lists.get(slot);
    if (list !== undefined)
      return list.segments.map(({ dmaAddress, length }) => ({ address: dmaAddress, length }));
    const held = this.#mappings.get(slot) ?? this.#memory.get(slot) ?? this.#iova.get(slot)!;
    return [{ address: held.dmaAddress, length: held.size }];
  }
}
