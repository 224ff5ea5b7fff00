/** Bytes by seed, and the hash by which bytes are compared: as the module has them. */

export function fill(bytes: Uint8Array, seed: number): void {
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = state >>> 24;
  }
}

export function hash(bytes: Uint8Array): bigint {
  let value = 0;
  for (let i = 0; i < bytes.length; i++) value = (Math.imul(value, 31) + bytes[i]!) | 0;
  return BigInt(value >>> 0);
}
