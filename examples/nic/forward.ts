/**
 * The forwarding loop, as in ixy. It touches every packet, so that the first cache line of each comes to the
 * processor.
 */
import type { Packet } from './packet.ts';
import type { Receiver, Transmitter } from './ring.ts';

/** The offset of the byte that is changed. It is in the payload, whatever headers there are. */
export const TOUCHED = 48;

/**
 * Forwards the received packets, one batch. Packets for which the sender has no room are dropped. Both ends must
 * belong to one NIC: packets of another one are refused (EINVAL), and the caller keeps them.
 * @param batch an array with the length of a batch
 * @returns the number of forwarded packets
 */
export function forward(from: Receiver, to: Transmitter, batch: Packet[]): number {
  const received = from.receive(batch);
  for (let i = 0; i < received; i++) batch[i]!.bytes[TOUCHED]!++;
  const sent = to.transmit(batch, 0, received);
  for (let i = sent; i < received; i++) batch[i]!.free();
  return sent;
}
