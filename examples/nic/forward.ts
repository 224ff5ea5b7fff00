/** The forwarding loop, as ixy's: every packet is touched, so that its first lines have to come to the processor. */
import type { Packet } from './packet.ts';
import type { Receiver, Transmitter } from './ring.ts';

/** The byte that is changed: of the payload, whatever the headers are. */
export const TOUCHED = 48;

/**
 * Send on what has been received, one batch. What the sender has no room for is dropped. Both are of one NIC: packets
 * of another are refused (EINVAL), and stay the caller's.
 * @param batch as long as a batch is to be
 * @returns how many packets were sent on
 */
export function forward(from: Receiver, to: Transmitter, batch: Packet[]): number {
  const received = from.receive(batch);
  for (let i = 0; i < received; i++) batch[i]!.bytes[TOUCHED]!++;
  const sent = to.transmit(batch, 0, received);
  for (let i = sent; i < received; i++) batch[i]!.free();
  return sent;
}
