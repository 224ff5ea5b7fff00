/**
 * The buffers of coherent memory, of all devices of the process. The CPU and a device use such memory at any time, so
 * a change of its bytes is no mistake, whichever device it is mapped for.
 */

const coherentBuffers = new WeakSet<ArrayBufferLike>();

/** Record a buffer of coherent memory or of a pool. */
export function markCoherent(buffer: ArrayBufferLike): void {
  coherentBuffers.add(buffer);
}

/** True if a device of the process may use the buffer at any time. */
export function isCoherentBuffer(buffer: ArrayBufferLike): boolean {
  return coherentBuffers.has(buffer);
}
