/**
 * Scatter-gather mode: there can be as many packets under way as the ring has descriptors for (PG021, "Scatter/Gather
 * Mode").
 *
 * The core puts a received packet into the descriptors in their order, and does not know the `receive` calls. A
 * packet that ends early leaves descriptors to the next packet. In this driver one call is one packet, so that case
 * is an error.
 */
import type { DmaDevice } from '../../lib/index.ts';
import { DmaError } from '../../lib/index.ts';
import { Channel, type ChannelOwner } from './channel.ts';
import { DescriptorRing } from './descriptor-ring.ts';
import { channelError, hex, tooManyBytes } from './failure.ts';
import {
  type CHANNEL,
  CONTROL,
  DESCRIPTOR,
  DESCRIPTOR_CONTROL,
  DESCRIPTOR_STATUS,
  LENGTH_MASK,
  REGISTER,
} from './registers.ts';
import { type Lent, Transfer } from './transfer.ts';

export class RingChannel extends Channel {
  readonly #ring: DescriptorRing;
  protected override active: Transfer[] = [];
  /** The number of descriptors of the oldest transfer that are done. */
  #done = 0;

  /** @throws DmaError EINVAL, ENOMEM, ENOSPC as `DescriptorRing` */
  constructor(owner: ChannelOwner, which: keyof typeof CHANNEL, dma: DmaDevice) {
    super(owner, which);
    this.#ring = new DescriptorRing(dma, owner.settings.descriptors);
  }

  override start(): void {
    const { packets, delay } = this.owner.settings.coalesce;
    this.#ring.reset();
    this.writePointer(REGISTER.currentDescriptor, this.#ring.addressOf(0));
    const delayed = delay > 0 ? CONTROL.delayInterrupt : 0;
    this.run(delayed | (packets << CONTROL.thresholdShift) | (delay << CONTROL.delayShift));
  }

  override free(): void {
    this.#ring.free();
  }

  protected override newTransfer(lent: Lent): Transfer {
    // The length is a multiple of a descriptor's size, so that the part after a cut is as well aligned as the part
    // before.
    const longest = 2 ** this.owner.settings.lengthBits - DESCRIPTOR.bytes;
    const transfer = new Transfer(lent, longest);
    const { length } = transfer.pieces;
    if (length < this.#ring.count) return transfer;
    throw new DmaError('EINVAL', `${this.name}: a packet of ${length} pieces`, {
      remedy: `pass descriptors: ${length + 1} or more to the driver; it has ${this.#ring.count}`,
    });
  }

  protected override hasRoom({ pieces }: Transfer): boolean {
    return pieces.length <= this.#ring.room;
  }

  protected override begin(transfer: Transfer): void {
    const { pieces } = transfer;
    let last = 0;
    this.active.push(transfer);
    for (const [i, { address, length }] of pieces.entries()) {
      const start = i === 0 ? DESCRIPTOR_CONTROL.startOfFrame : 0;
      const end = i === pieces.length - 1 ? DESCRIPTOR_CONTROL.endOfFrame : 0;
      last = this.#ring.put(address, length, this.receives ? 0 : start | end);
    }
    this.writePointer(REGISTER.tailDescriptor, this.#ring.addressOf(last));
  }

  protected override collect(): void {
    for (let transfer = this.active[0]; transfer !== undefined; transfer = this.active[0]) {
      const status = this.#ring.finished;
      // The failed descriptor stays where it is, because DMASR reports it.
      if (status === undefined || status & DESCRIPTOR_ERRORS) return;
      this.#ring.take();
      const moved = status & LENGTH_MASK;
      const { length } = transfer.pieces[this.#done]!;
      if (moved > length) {
        this.owner.abandon(tooManyBytes(this.name, moved, length), transfer);
        return;
      }
      transfer.moved += moved;
      const last = ++this.#done === transfer.pieces.length;
      if (this.receives && last !== ((status & DESCRIPTOR_STATUS.endOfFrame) !== 0)) {
        this.owner.abandon(outOfStep(transfer, last), transfer);
        return;
      }
      if (last) {
        this.#done = 0;
        this.active.shift();
        transfer.finish();
      }
    }
  }

  protected override clear(): void {
    this.active = [];
    this.#done = 0;
  }

  /** CURDESC is the descriptor with the error. */
  protected override blame(): { culprit: Transfer | undefined; where: string } {
    const [culprit] = this.active;
    const descriptor = this.readPointer(REGISTER.currentDescriptor);
    const piece = culprit?.pieces[this.#done];
    const buffer = piece === undefined ? '' : `, buffer ${hex(piece.address)}, ${piece.length} bytes`;
    return { culprit, where: `descriptor ${hex(descriptor)}${buffer}` };
  }

  protected override failure(status: number, where: string): DmaError {
    return channelError(this.name, status, where);
  }
}

const DESCRIPTOR_ERRORS = Object.values(DESCRIPTOR_STATUS.errors).reduce((bits, bit) => bits | bit, 0);

function outOfStep({ moved, size }: Transfer, last: boolean): DmaError {
  return last
    ? new DmaError('EOVERFLOW', `S2MM: a packet was longer than the ${size} bytes of its buffer`, {
        remedy: 'receive into a buffer that holds the longest packet',
      })
    : new DmaError(
        'EIO',
        `S2MM: a packet ended after ${moved} of ${size} bytes, in another piece than the last`,
        {
          remedy: 'receive packets of unknown length into one piece each',
        },
      );
}
