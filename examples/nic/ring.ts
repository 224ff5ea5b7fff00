/** The common part of both rings. */
import { DmaError } from '../../lib/index.ts';
import type { Packet } from './packet.ts';

/** The part of a Bar that a ring needs: the register of its doorbell. */
export interface Doorbell {
  write32(offset: number, value: number): void;
}

/** A source of packets: a ring, or a NIC. */
export interface Receiver {
  /**
   * Puts the packets that have come into the first places of `batch`. The caller then holds them, and must pass each
   * to `transmit` or free it. Never waits.
   * @param max the number of wanted packets; default: the length of the batch
   * @returns the number of packets; 0 if none has come, or no packet of the pool is free
   * @throws DmaError EINVAL max · ENODEV closed, or the device is gone · TypeError the batch cannot be written; the packets
   *   that are in it are the caller's
   */
  receive(batch: Packet[], max?: number): number;
}

/** A sink for packets: a ring, or a NIC. */
export interface Transmitter {
  /**
   * Sends `count` packets of `batch`, from place `from` on, in that order. The device owns those that are taken, and
   * they go back to their pool by themselves. The caller keeps holding the others. Never waits.
   * @returns the number of packets that were taken; fewer than `count` if the ring is full
   * @throws DmaError EINVAL the batch does not have that part, or a packet is not held by the caller, or belongs to
   *   another pool, or is not 14 to 1,518 bytes long; then none is taken · ENODEV closed, or the device is gone
   */
  transmit(batch: readonly Packet[], from?: number, count?: number): number;
}

/** The number of packets after which a ring does work that costs as much as one packet. */
export const LOT = 32;

/** RDLEN and TDLEN take multiples of 128 bytes; the heads and tails have 16 bits. */
const FEWEST = 8;
const MOST = 4096;

/** @throws DmaError EINVAL */
export function checkDescriptors(count: number): void {
  if (Number.isInteger(count) && count >= FEWEST && count <= MOST && count % 8 === 0) return;
  throw new DmaError('EINVAL', `a ring of ${String(count)} descriptors`, {
    remedy: `pass a multiple of 8 from ${FEWEST} to ${MOST}`,
  });
}

/** The error of a call on a ring whose device was closed. */
export function notRunning(which: 'receive' | 'transmit'): DmaError {
  return new DmaError('ENODEV', `the ${which} ring is closed`, { remedy: 'open the device again' });
}
