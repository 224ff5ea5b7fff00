/** Direct register mode: one buffer at a time, by its address and length (PG021, "Direct Register Mode"). */
import { DmaError } from '../../lib/index.ts';
import { Channel } from './channel.ts';
import { channelError, hex, tooManyBytes } from './failure.ts';
import { REGISTER, STATUS } from './registers.ts';
import { type Lent, Transfer } from './transfer.ts';

export class DirectChannel extends Channel {
  protected override active: Transfer[] = [];

  override start(): void {
    this.run(0);
  }

  override free(): void {}

  protected override newTransfer(lent: Lent): Transfer {
    const longest = 2 ** this.owner.settings.lengthBits - 1;
    const transfer = new Transfer(lent, longest);
    if (transfer.pieces.length === 1) return transfer;
    const { size } = transfer;
    throw new DmaError('EINVAL', `${this.name}: ${size} bytes in ${transfer.pieces.length} pieces`, {
      remedy: `without the scatter-gather engine a packet is one piece of at most ${longest} bytes`,
    });
  }

  protected override hasRoom(): boolean {
    return this.active.length === 0;
  }

  protected override begin(transfer: Transfer): void {
    const { address, length } = transfer.pieces[0]!;
    this.active = [transfer];
    this.writePointer(REGISTER.address, address);
    this.write(REGISTER.length, length);
  }

  protected override collect(status: number): void {
    const [transfer] = this.active;
    if (transfer === undefined || (status & STATUS.complete) === 0) return;
    const moved = this.receives ? this.read(REGISTER.length) : transfer.size;
    if (moved > transfer.size) {
      this.owner.abandon(tooManyBytes(this.name, moved, transfer.size), transfer);
      return;
    }
    transfer.moved = moved;
    this.clear();
    transfer.finish();
  }

  protected override clear(): void {
    this.active = [];
  }

  protected override blame(): { culprit: Transfer | undefined; where: string } {
    const [culprit] = this.active;
    const piece = culprit?.pieces[0];
    const where = piece === undefined ? 'no transfer' : `${hex(piece.address)}, ${piece.length} bytes`;
    return { culprit, where };
  }

  /** The one internal error of this mode (PG021, "S2MM_DMASR", DMAIntErr). */
  protected override failure(status: number, where: string, culprit: Transfer | undefined): DmaError {
    if (!this.receives || culprit === undefined || (status & STATUS.errors.DMAIntErr) === 0) {
      return channelError(this.name, status, where);
    }
    return new DmaError('EOVERFLOW', `S2MM: DMAIntErr at ${where}: a packet was longer than the buffer`, {
      remedy: 'receive into a buffer that holds the longest packet',
    });
  }
}
