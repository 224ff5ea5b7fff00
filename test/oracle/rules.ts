/**
 * What both sides must agree about, request by request. Device addresses are never equal: the two have allocators of
 * their own. Compared is what a driver may rely on: whether a call succeeds, limits and alignment of its addresses, how
 * lists merge, where blocks lie in their page, and every byte.
 */
import { DMA_ATTR } from '../../lib/index.ts';
import { ALLOCATORS, type Part, type Request, type Response, type Segment } from './protocol.ts';

/** What the rules depend on. */
export interface State {
  readonly translated: boolean;
  readonly forced: boolean;
  /** True if the library copies short memory behind an IOMMU. */
  readonly copies: boolean;
  mask: bigint;
  coherentMask: bigint;
  maxSegment: number;
  boundary: bigint;
  minAlign: number;
}

/** A difference by the name that docs/dma-api.md explains it under, or one that nothing explains. */
export interface Difference {
  readonly known?: string;
  readonly what: string;
}

const EPERM = 1;
const EIO = 5;
const ENOMEM = 12;
const EEXIST = 17;
const EINVAL = 22;
const EOPNOTSUPP = 95;
const EADDRINUSE = 98;
const EREMOTEIO = 121;
const PAGE = 4096;
const SLOT = 2048;

function differ(what: string, kernel: unknown, library: unknown, known?: string): Difference {
  const text = `${what}: the kernel has ${String(kernel)}, the library ${String(library)}`;
  return known === undefined ? { what: text } : { what: text, known };
}

export function compareErrors(kernel: Response, library: Response, known?: string): Difference[] {
  return kernel.error === library.error ? [] : [differ('error', kernel.error, library.error, known)];
}

export function compareMasks(kernel: Response, library: Response, state: State): Difference[] {
  // Behind an IOMMU the kernel takes any mask. Without one it wants all of its memory under the mask.
  const known = state.translated ? library.error !== 0 : kernel.error !== 0;
  return compareErrors(kernel, library, known ? 'masks' : undefined);
}

export function compareLimits(kernel: Response, library: Response, state: State): Difference[] {
  const [requiredMask, longest, optimal, merge] = kernel.values;
  const found: Difference[] = [];
  const check = (what: string, one: unknown, other: unknown, known?: string) => {
    if (one !== other) found.push(differ(what, one, other, known));
  };
  check('addressing limited', kernel.error, library.error);
  check('required mask', requiredMask, library.values[0]);
  check('merge boundary', merge, library.values[3]);
  const hasLimit = longest! < 2n ** 53n;
  const isBound = state.forced && longest! > state.boundary + 1n - BigInt(state.minAlign);
  check('longest mapping', longest, library.values[1], !hasLimit || isBound ? 'longest-mapping' : undefined);
  // Each side's optimum is at most its own longest mapping.
  const expected = optimal! < library.values[1]! ? optimal : library.values[1];
  check('optimal mapping', expected, library.values[2]);
  return found;
}

/** What the addresses of one side promise by themselves. */
function promises(side: string, segment: Segment, mask: bigint): Difference[] {
  const last = segment.address + BigInt(segment.size) - 1n;
  return last <= mask
    ? []
    : [{ what: `${side}: ${segment.address}+${segment.size} lies beyond the mask ${mask}` }];
}

/** One mapping, or one element of a list that is mapped by itself. */
function compareAddresses(kernel: Segment, library: Segment, offset: number, state: State): Difference[] {
  const found = [...promises('kernel', kernel, state.mask), ...promises('library', library, state.mask)];
  const low = (segment: Segment, mask: number) => Number(segment.address & BigInt(mask));
  if (state.forced) {
    const kept = state.minAlign;
    const aligned = kept !== 0 ? 0 : kernel.size >= PAGE ? PAGE - 1 : SLOT - 1;
    for (const [side, segment] of [['kernel', kernel] as const, ['library', library] as const]) {
      if (low(segment, kept) !== (offset & kept)) {
        found.push({
          what: `${side}: the low bits ${kept} of ${segment.address} are not those of ${offset}`,
        });
      }
      if (low(segment, aligned) !== 0) found.push({ what: `${side}: ${segment.address} is not aligned` });
    }
  } else {
    // A copy keeps only the bits that it was told to keep.
    const kernelLow = low(kernel, PAGE - 1);
    const kept = low(library, PAGE - 1) === kernelLow ? PAGE - 1 : state.minAlign & (PAGE - 1);
    const known = state.translated && low(library, kept) === low(kernel, kept) ? 'copied-offset' : undefined;
    if (kernelLow !== offset % PAGE) found.push({ what: `kernel: ${kernel.address} of offset ${offset}` });
    if (kept !== PAGE - 1) found.push(differ('offset in the page', kernelLow, low(library, PAGE - 1), known));
  }
  return found;
}

export function compareMappings(
  { offset = 0, size = 0 }: Request,
  kernel: Response,
  library: Response,
  state: State,
): Difference[] {
  const [address, needSync] = kernel.values;
  const [ours, oursNeedsSync] = library.values;
  const found = compareAddresses({ address: address!, size }, { address: ours!, size }, offset, state);
  if (needSync !== oursNeedsSync)
    found.push(differ('needs sync', needSync, oursNeedsSync, state.translated ? 'need-sync' : undefined));
  return found;
}

/** Why only one side may fail to map elements of these sizes, or fail otherwise than the other. */
export function explainFailure(
  kernel: Response,
  library: Response,
  sizes: readonly number[],
  attrs: number,
  state: State,
): string | undefined {
  // The kernel has one error for a mapping that fails, and needs no copies behind an IOMMU.
  const refused = library.error === -EPERM || library.error === -EIO;
  if ((attrs & DMA_ATTR.REQUIRE_COHERENT) !== 0 && refused) return 'require-coherent';
  if (kernel.error === -EIO && library.error === -ENOMEM && !state.translated) return 'list-error';
  // swiotlb counts boundaries in slots.
  const beyond = (size: number) => BigInt(size + state.minAlign) > state.boundary + 1n;
  if (state.forced && state.boundary < SLOT && sizes.some(beyond)) return 'short-boundary';
  return undefined;
}

export function compareLists(
  request: Request,
  kernel: Response,
  library: Response,
  state: State,
): Difference[] {
  const parts = request.parts!;
  const found: Difference[] = [];
  for (const segment of kernel.segments) found.push(...promises('kernel', segment, state.mask));
  for (const segment of library.segments) found.push(...promises('library', segment, state.mask));
  found.push(...mergePromises(parts, library.segments, state));
  const lengths = ({ segments }: Response) => segments.map(({ size }) => size).join(' ');
  if (lengths(kernel) !== lengths(library)) {
    const what = `lengths of ${parts.map((part) => `${part.offset}+${part.size}`).join(' ')}`;
    found.push(differ(what, lengths(kernel), lengths(library), explainLengths(parts, kernel, state)));
    return found;
  }
  if (!state.translated) {
    parts.forEach((part, i) => {
      found.push(...compareAddresses(kernel.segments[i]!, library.segments[i]!, part.offset, state));
    });
  }
  return found;
}

/** Each of the library's segments is one element, or elements that may merge. */
function mergePromises(parts: readonly Part[], segments: readonly Segment[], state: State): Difference[] {
  const found: Difference[] = [];
  let next = 0;
  for (const { address, size } of segments) {
    const first = next;
    let sum = 0;
    while (sum < size && next < parts.length) sum += parts[next++]!.size;
    if (sum !== size) return [{ what: `library: segments of ${size} bytes are no whole elements` }];
    if (next === first + 1) continue;
    const inner = parts.slice(first, next);
    let join = address;
    const joins = inner.slice(1).every(({ offset }, i) => {
      const before = inner[i]!;
      join += BigInt(before.size);
      const onPage = offset % PAGE === 0 && (before.offset + before.size) % PAGE === 0;
      return onPage && (join & state.boundary) !== 0n;
    });
    if (!joins || size > state.maxSegment) {
      found.push({ what: `library: ${inner.length} elements have merged at ${address}+${size}` });
    }
  }
  return found;
}

function explainLengths(parts: readonly Part[], kernel: Response, state: State): string | undefined {
  if (!state.translated) return undefined;
  // The kernel subtracts without a sign: after an element that is longer than the limit, any other merges.
  if (kernel.segments.some(({ size }) => size > state.maxSegment)) return 'merged-too-long';
  // Elements with edges need copies, so the library may map each element by itself.
  const hasEdges = parts.some(({ offset, size }) => offset % PAGE !== 0 || size % PAGE !== 0);
  // Copies are not one run of addresses, so boundaries lie elsewhere in a list that is longer than one.
  const total = parts.reduce((sum, { size }) => sum + size, 0);
  const hasBoundary = state.copies && BigInt(total) > state.boundary + 1n;
  return hasEdges || hasBoundary ? 'one-by-one' : undefined;
}

/** Addresses that memory is linked into: they start in their page as the first part does. */
export function compareReserved(
  { offset = 0, size = 0 }: Request,
  kernel: Response,
  library: Response,
  state: State,
): Difference[] {
  if (kernel.error !== 0 || library.error !== 0) return compareErrors(kernel, library);
  const found: Difference[] = [];
  for (const [side, { values }] of [['kernel', kernel] as const, ['library', library] as const]) {
    const address = values[0]!;
    found.push(...promises(side, { address, size }, state.mask));
    if (Number(address % BigInt(PAGE)) !== offset % PAGE) {
      found.push({ what: `${side}: ${address} does not start as offset ${offset}` });
    }
  }
  return found;
}

/** Why the two may answer a link differently. */
export function explainLink({ attrs = 0 }: Request, kernel: Response, library: Response): string | undefined {
  if (kernel.error === -EADDRINUSE && library.error === -EEXIST) return 'linked-twice';
  const refused = library.error === -EPERM || library.error === -EOPNOTSUPP;
  return refused && (attrs & DMA_ATTR.REQUIRE_COHERENT) !== 0 ? 'require-coherent' : undefined;
}

/** A mapping of registers: nothing is copied, so that the address keeps its offset in the page. */
export function compareResources(
  { offset = 0, size = 0, attrs = 0 }: Request,
  kernel: Response,
  library: Response,
  state: State,
): Difference[] {
  if (kernel.error !== 0 || library.error !== 0) {
    const why = explainResource({ offset, size, attrs }, library, state);
    return compareErrors(kernel, library, why);
  }
  const found: Difference[] = [];
  const order = 2n ** BigInt(Math.ceil(Math.log2(size)));
  for (const [side, { values }] of [['kernel', kernel] as const, ['library', library] as const]) {
    found.push(...promises(side, { address: values[0]!, size }, state.mask));
    if (values[0]! % order !== 0n) found.push({ what: `${side}: ${values[0]} is not aligned to ${order}` });
  }
  const [needSync, oursNeedsSync] = [kernel.values[1], library.values[1]];
  if (needSync !== oursNeedsSync) found.push(differ('needs sync', needSync, oursNeedsSync, 'need-sync'));
  return found;
}

/** Why the library may refuse registers that the kernel maps, or refuse them by another code. */
function explainResource(
  { offset, size, attrs }: { readonly offset: number; readonly size: number; readonly attrs: number },
  library: Response,
  state: State,
): string | undefined {
  const known = Object.values(DMA_ATTR).reduce((bits, bit) => bits | bit, 0);
  if (library.error === -EINVAL && (attrs & ~known) !== 0) return 'unknown-attributes';
  if (library.error === -EINVAL && (offset % PAGE !== 0 || size % PAGE !== 0)) return 'whole-registers';
  if (library.error === -EREMOTEIO && !state.translated) return 'registers-direct';
  return undefined;
}

export function compareMemory(
  { size = 0, arg = 0 }: Request,
  kernel: Response,
  library: Response,
  state: State,
): Difference[] {
  // Behind an IOMMU dma_alloc_pages maps by the streaming mask.
  const byStreaming = state.translated && ALLOCATORS[arg] !== 'coherent';
  const known = byStreaming && state.mask !== state.coherentMask ? 'noncoherent-mask' : undefined;
  if (kernel.error !== 0 || library.error !== 0) return compareErrors(kernel, library, known);
  const found: Difference[] = [];
  if (known !== undefined) {
    const beyond = promises('kernel', { address: kernel.values[0]!, size }, state.coherentMask);
    if (beyond.length > 0) return [{ known, what: beyond[0]!.what }];
  }
  const order = 2n ** BigInt(Math.ceil(Math.log2(Math.max(size, PAGE))));
  for (const [side, { values }] of [['kernel', kernel] as const, ['library', library] as const]) {
    found.push(...promises(side, { address: values[0]!, size }, state.coherentMask));
    if (values[0]! % order !== 0n) found.push({ what: `${side}: ${values[0]} is not aligned to ${order}` });
    if (values[1] !== 1n) found.push({ what: `${side}: memory is not zeroed` });
  }
  return found;
}
