/**
 * ArrayBuffers of the JavaScript heap that a transfer list does not take: Node.js treats memory of an addon so, and the
 * memory of a simulated device follows the same rule. Their owner can still detach them.
 *
 *      Node.js            transfer list        transfer(), byte streams   detached here by
 *      20                 copies the bytes     take the bytes             the addon, or a byte stream
 *      22                 DataCloneError       take the bytes             transfer()
 *      24 and later       takes the bytes      take the bytes             transfer()
 *
 * From Node.js 24 on the mark also keeps the owner from detaching, so that the buffers have none there.
 */
import { loadAddon } from '../native/load.ts';
import { canDetachMarked, threads, transfer } from './transfer.ts';

type Detach = (buffer: ArrayBuffer) => void;

/** An ArrayBuffer of zeros. @throws RangeError there is no memory for it */
export function newHeapBuffer(size: number): ArrayBuffer {
  const buffer = new ArrayBuffer(size);
  if (mark === undefined) mark = canDetachMarked() ? threads().markAsUntransferable : null;
  mark?.(buffer);
  return buffer;
}

/**
 * Detaches the buffer: every view of it then has length 0. A buffer that its user made undetachable does not change.
 */
export function detachHeapBuffer(buffer: ArrayBuffer): void {
  try {
    detach ??= detacher();
    detach(buffer);
  } catch {
    // The user keeps the bytes, which are never allocated again.
  }
}

/** Marks a buffer as untransferable; null where nobody must. Looking it up costs as much as a small buffer. */
let mark: ((buffer: ArrayBuffer) => void) | null | undefined;
let detach: Detach | undefined;

/** Called when the first buffer is freed, because loading the addon takes milliseconds. */
function detacher(): Detach {
  const move = transfer;
  if (move !== undefined) return (buffer) => void move.call(buffer, 0);
  try {
    const addon = loadAddon();
    return (buffer) => void addon.detach(buffer);
  } catch {
    // A simulation needs no addon, but detaching is several times faster with it.
    return streamDetacher();
  }
}

/** A ReadableByteStreamController while a read is pending. */
interface ByobController {
  readonly byobRequest: { readonly view: { readonly buffer: ArrayBuffer } };
}

/**
 * A byte stream takes the bytes of a marked buffer. A message to a closed port serialises the bytes and drops them.
 */
function streamDetacher(): Detach {
  const { port1 } = new (threads().MessageChannel)();
  port1.close();
  return (buffer) => {
    const controllers: ByobController[] = [];
    const stream = new ReadableStream({
      type: 'bytes',
      start: (controller) => void controllers.push(controller as unknown as ByobController),
    });
    // The view may have any length but 0. The stream owns the bytes from here on.
    void stream.getReader({ mode: 'byob' }).read(new Uint8Array(buffer, 0, 1));
    port1.postMessage(undefined, [controllers[0]!.byobRequest.view.buffer]);
  };
}
