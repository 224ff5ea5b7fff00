/** Bytes that a test recognizes, and the check that a call is refused and changes nothing. */
import { type DmaDevice, type DmaDirection, DmaError, type ErrnoName } from '../../lib/index.ts';
import { assert } from '../harness.ts';
import { PAGE } from '../page.ts';

export { PAGE };

export const DIRECTIONS: readonly DmaDirection[] = ['to-device', 'from-device', 'bidirectional'];

export const reads = (direction: DmaDirection): boolean => direction !== 'from-device';
export const writes = (direction: DmaDirection): boolean => direction !== 'to-device';

/** A megabyte of bytes that do not repeat. */
const NOISE = noise(2 ** 20);

function noise(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = 12_345;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Bytes that differ from their neighbours, from those a page away and from those of another seed; up to 512 KiB. */
export function pattern(size: number, seed: number): Uint8Array {
  const start = (seed * 7919) % 2 ** 19;
  return NOISE.slice(start, start + size);
}

/** `base` with `part` laid over it at `offset`. */
export function overlay(base: Uint8Array, part: Uint8Array, offset: number): Uint8Array {
  const bytes = Uint8Array.from(base);
  bytes.set(part, offset);
  return bytes;
}

/** Detaches a buffer, as passing it to another thread does. */
export function detach({ buffer }: Uint8Array): void {
  structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
}

/** Foreign memory that starts on a page. Reserved addresses show where a page starts, so there must be an IOMMU. */
export function foreignPages(dma: DmaDevice, pages: number): Uint8Array {
  const raw = new Uint8Array((pages + 1) * PAGE);
  const probe = dma.reserveIova(raw.length, raw);
  assert.ok(probe !== null, 'addresses');
  const start = (PAGE - Number(probe.dmaAddress % BigInt(PAGE))) % PAGE;
  probe.free();
  return raw.subarray(start, start + pages * PAGE);
}

/** Asserts that two pieces of memory are equal. The message of a failure names the first difference. */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  if (Buffer.compare(actual, expected) === 0) return;
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  let wrong = 0;
  for (let i = at; i < expected.length; i++) if (actual[i] !== expected[i]) wrong++;
  const quote = (bytes: Uint8Array) => Buffer.from(bytes.subarray(at, at + 8)).toString('hex');
  assert.fail(
    `${what}: ${wrong} of ${expected.length} bytes differ, from ${at} on: ${quote(actual)}, not ${quote(expected)}`,
  );
}

/** The state of a device that a refused call must not change. */
export function stateOf(dma: DmaDevice): object {
  const { slotSize, usedSlots, maps, bytesIn, bytesOut } = dma.bounceStats;
  const { mask, coherentMask, limits } = dma;
  const { maxSegmentSize, segmentBoundary, minAlignMask, maxMappingSize } = limits;
  return {
    ...{ slotSize, usedSlots, maps, bytesIn, bytesOut, mask, coherentMask },
    ...{ maxSegmentSize, segmentBoundary, minAlignMask, maxMappingSize },
    live: dma.live.length,
  };
}

/** Asserts that `action` throws a DmaError with this code and a remedy, and that the device is as it was. */
export function refused(dma: DmaDevice, code: ErrnoName, what: string, action: () => unknown): void {
  const before = stateOf(dma);
  assert.throws(
    action,
    (error) => {
      assert.ok(error instanceof DmaError, `${what}: ${String(error)}`);
      assert.equal(error.code, code, `${what}: ${error.message}`);
      assert.match(error.message, /; /, `${what}: no remedy in "${error.message}"`);
      return true;
    },
    what,
  );
  assert.deepEqual(stateOf(dma), before, what);
}
