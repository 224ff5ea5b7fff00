/** What both rings have in common. */
import { DmaError } from '../../lib/index.ts';
import type { Packet } from './packet.ts';

/** What is taken of a Bar: the registers a ring rings at. */
export interface Doorbell {
  write32(offset: number, value: number): void;
}

/** Something packets come from: a ring, or a NIC. */
export interface Receiver {
  /**
   * The next packets that are there, into the first places of `batch`; they are the caller's then, who passes each of
   * them to `transmit` or frees it. Never waits.
   * @param max packets wanted; default: as many as the batch has places
   * @returns how many; 0 when none is there, or every packet of the pool is out
   * @throws DmaError EINVAL max · ENODEV closed, or the device is gone
   */
  receive(batch: Packet[], max?: number): number;
}

/** Something packets go to. */
export interface Transmitter {
  /**
   * Send `count` packets of `batch`, from place `from` on, in that order. Those that are taken belong to the device,
   * which gives them back to their pool by itself; the others stay the caller's. Never waits.
   * @returns how many were taken: fewer when the ring is full
   * @throws DmaError EINVAL a part that the batch does not have, or a packet that is not the caller's, or of another
   *   pool, or not 14 to 1,518 bytes long; then none is taken · ENODEV closed, or the device is gone
   */
  transmit(batch: readonly Packet[], from?: number, count?: number): number;
}

/** Packets after which something is done that costs as much as one of them. */
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

/** For a call on a ring whose device was closed. */
export function notRunning(which: 'receive' | 'transmit'): DmaError {
  return new DmaError('ENODEV', `the ${which} ring is closed`, { remedy: 'open the device again' });
}
