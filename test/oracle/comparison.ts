/** Runs requests through both sides, and tells what differs. */
import type { Library } from './library.ts';
import { PoolPlaces } from './pool-places.ts';
import type { Request, Response } from './protocol.ts';
import {
  compareErrors,
  compareLimits,
  compareLists,
  compareMappings,
  compareMasks,
  compareMemory,
  compareReserved,
  compareResources,
  type Difference,
  explainFailure,
  explainLink,
  type State,
} from './rules.ts';
import type { Setting } from './settings.ts';

/** dma_pool_create makes no smaller blocks. */
const SMALLEST_BLOCK = 16;

/** Answers requests in order. */
export interface Side {
  run(requests: readonly Request[]): readonly Response[];
}

interface Pool {
  readonly kernel: PoolPlaces;
  readonly library: PoolPlaces;
}

export class Comparison {
  /** Milliseconds in the kernel. */
  kernelTime = 0;
  /** Requests that both sides answered. */
  operations = 0;
  /** Requests that only one side answered, because the other had nothing in that slot. */
  skipped = 0;
  /** How often each difference was found that docs/dma-api.md explains, and the first of them. */
  readonly known = new Map<string, { count: number; first: string }>();
  /** Differences that nothing explains. */
  readonly unexplained: string[] = [];

  readonly #kernel: Side;
  readonly #library: Library;
  readonly #state: State;
  /** Slots that only the kernel has something in, or had until it ended. */
  readonly #onKernel = new Set<string>();
  readonly #pools = new Map<number, Pool>();

  constructor(kernel: Side, library: Library, { translated, forced, copybreak }: Setting) {
    this.#kernel = kernel;
    this.#library = library;
    const mask = 0xffff_ffffn;
    this.#state = {
      translated,
      forced,
      copies: copybreak > 0,
      mask,
      coherentMask: mask,
      maxSegment: 65_536,
      boundary: mask,
      minAlign: 0,
    };
  }

  run(requests: readonly Request[]): void {
    const started = performance.now();
    const answers = this.#kernel.run(requests);
    this.kernelTime += performance.now() - started;
    requests.forEach((request, i) => {
      this.#compare(request, answers[i]!);
    });
  }

  #compare(request: Request, kernel: Response): void {
    if (!this.#isOnBoth(request)) {
      this.skipped++;
      // The CPU writes on both sides: the bytes are compared again once another mapping has them.
      if (request.op === 'fill' || this.#mustEnd(request)) this.#library.run(request);
      return;
    }
    const known = request.op === 'poolCreate' && request.size! < SMALLEST_BLOCK;
    const asked = known ? { ...request, size: SMALLEST_BLOCK } : request;
    const library = this.#library.run(asked);
    this.operations++;
    if (known) this.#tell(request, { known: 'small-blocks', what: `blocks of ${request.size} bytes` });
    for (const difference of this.#differences(asked, kernel, library)) this.#tell(request, difference);
    this.#settle(request, kernel, library);
  }

  /** Whether the library still has addresses that the kernel frees, although it has refused what was linked there. */
  #mustEnd({ op, slot = 0 }: Request): boolean {
    return (op === 'iovaFree' || op === 'iovaDestroy') && this.#library.holds(slot);
  }

  /** Whether both sides have what the request is about. */
  #isOnBoth(request: Request): boolean {
    const { op, slot = 0, buffer = 0 } = request;
    const place = placeOf(request);
    if (op === 'poolAlloc' || op === 'poolDestroy') return this.#pools.has(slot);
    if (op === 'poolFree') return this.#library.holdsBlock(buffer);
    if (place === undefined) return true;
    if (BEGINS.has(op)) this.#onKernel.delete(place);
    else if (this.#onKernel.has(place)) return false;
    return BEGINS.has(op) || op === 'fill' || op === 'hash' || this.#library.holds(slot);
  }

  #differences(request: Request, kernel: Response, library: Response): Difference[] {
    const state = this.#state;
    const { op, slot = 0 } = request;
    const failed = kernel.error !== 0 || library.error !== 0;
    switch (op) {
      case 'setMask':
      case 'setCoherentMask':
        return compareMasks(kernel, library, state);
      case 'readLimits':
        return compareLimits(kernel, library, state);
      case 'map':
        if (failed)
          return compareErrors(
            kernel,
            library,
            explainFailure(kernel, library, [request.size!], request.attrs!, state),
          );
        return compareMappings(request, kernel, library, state);
      case 'mapList':
        if (failed) {
          const sizes = request.parts!.map(({ size }) => size);
          return compareErrors(
            kernel,
            library,
            explainFailure(kernel, library, sizes, request.attrs!, state),
          );
        }
        return compareLists(request, kernel, library, state);
      case 'iovaAlloc':
        return compareReserved(request, kernel, library, state);
      case 'iovaLink':
        return compareErrors(kernel, library, explainLink(request, kernel, library));
      case 'mapResource':
        return compareResources(request, kernel, library, state);
      case 'alloc':
        return compareMemory(request, kernel, library, state);
      case 'poolAlloc':
        return failed ? compareErrors(kernel, library) : this.#compareBlocks(slot, request, kernel, library);
      case 'hash':
      case 'deviceHash':
        if (!failed && kernel.values[0] !== library.values[0]) return [{ what: 'bytes' }];
        return compareErrors(kernel, library);
      case 'reach':
        if (!failed && kernel.values[0] !== library.values[0])
          return [{ what: `register: kernel ${kernel.values[0]}, library ${library.values[0]}` }];
        return compareErrors(kernel, library);
      default:
        return compareErrors(kernel, library);
    }
  }

  #compareBlocks(slot: number, { arg }: Request, kernel: Response, library: Response): Difference[] {
    const pool = this.#pools.get(slot)!;
    const places = [pool.kernel.placeOf(kernel.values[0]!), pool.library.placeOf(library.values[0]!)];
    const found: Difference[] = [];
    if (places[0] !== places[1]) found.push({ what: `block: kernel ${places[0]}, library ${places[1]}` });
    if (arg === 1 && (kernel.values[1] !== 1n || library.values[1] !== 1n))
      found.push({ what: 'block is not zeroed' });
    return found;
  }

  /** Both sides go on with the same masks and the same live slots. */
  #settle(request: Request, kernel: Response, library: Response): void {
    const { op, slot = 0, value = 0n } = request;
    const state = this.#state;
    const place = placeOf(request);
    if (op === 'setMask' || op === 'setCoherentMask') {
      const member = op === 'setMask' ? 'mask' : 'coherentMask';
      if (kernel.error === 0 && library.error === 0) state[member] = value;
      else if (kernel.error === 0) this.#kernel.run([{ op, value: state[member] }]);
      else if (library.error === 0) this.#library.run({ op, value: state[member] });
    } else if (op === 'setLimits') {
      Object.assign(state, { maxSegment: request.size, boundary: value, minAlign: request.offset });
    } else if (op === 'poolCreate' && kernel.error === 0 && library.error === 0) {
      const size = Math.max(request.size!, SMALLEST_BLOCK);
      const align = Math.max(1, request.offset!);
      this.#pools.set(slot, { kernel: new PoolPlaces(size, align), library: new PoolPlaces(size, align) });
    } else if (op === 'poolDestroy') {
      this.#pools.delete(slot);
    } else if ((BEGINS.has(op) || op === 'iovaLink') && kernel.error === 0 && library.error !== 0) {
      this.#onKernel.add(place!);
    } else if (op in UNDO && kernel.error !== 0 && library.error === 0) {
      this.#library.run({ ...request, op: UNDO[op as keyof typeof UNDO], arg: 0 });
    }
  }

  #tell(request: Request, { known, what }: Difference): void {
    const text = `${what} (${describe(request)}; ${describe(this.#state)})`;
    if (known === undefined) {
      this.unexplained.push(text);
      return;
    }
    const entry = this.known.get(known) ?? { count: 0, first: text };
    entry.count++;
    this.known.set(known, entry);
  }
}

/** Requests that make something, and those that undo it. */
const UNDO = {
  map: 'unmap',
  mapList: 'unmapList',
  alloc: 'free',
  poolAlloc: 'poolFree',
  mapResource: 'unmapResource',
  iovaAlloc: 'iovaFree',
} as const;
const BEGINS = new Set<string>(['map', 'mapList', 'alloc', 'mapResource', 'iovaAlloc']);

/** The name of what a request is about, if that may live on one side only. */
function placeOf({ op, slot }: Request): string | undefined {
  if (op.startsWith('pool')) return undefined;
  return slot === undefined ? undefined : `slot ${slot}`;
}

function describe(value: object): string {
  return JSON.stringify(value, (_, member) =>
    typeof member === 'bigint' ? `0x${member.toString(16)}` : member,
  );
}
