/** The error bits of DMASR as errors (PG021, "MM2S_DMASR" and "S2MM_DMASR"). */
import { DmaError, type ErrnoName } from '../../lib/index.ts';
import { type ErrorName, STATUS } from './registers.ts';

const MEANING: Readonly<Record<ErrorName, { code: ErrnoName; remedy: string }>> = {
  DMAIntErr: { code: 'EIO', remedy: 'give S2MM a buffer that holds the longest packet' },
  DMASlvErr: { code: 'EIO', remedy: 'the memory there refused the access: check what is at this address' },
  DMADecErr: {
    code: 'EFAULT',
    remedy: 'nothing is at this address for the core: check its address map, and that the memory is mapped',
  },
  SGIntErr: {
    code: 'EIO',
    remedy: 'the descriptor was complete already: did other code write to the ring?',
  },
  SGSlvErr: { code: 'EIO', remedy: 'the memory of the ring refused the access' },
  SGDecErr: {
    code: 'EFAULT',
    remedy: 'the SG port of the core does not reach the ring: check its address map',
  },
};

/** All error bits of DMASR. */
export const ERRORS = Object.values(STATUS.errors).reduce((bits, bit) => bits | bit, 0);

/** @param where the descriptor and the buffer, for people */
export function channelError(channel: string, status: number, where: string): DmaError {
  const names = (Object.keys(STATUS.errors) as ErrorName[]).filter((name) => status & STATUS.errors[name]);
  const [first = 'DMAIntErr'] = names;
  const { code, remedy } = MEANING[first];
  return new DmaError(code, `${channel}: ${names.join(', ')} at ${where}`, { remedy });
}

/** The core counts more bytes than its memory has, so its counts cannot be trusted. */
export function tooManyBytes(channel: string, moved: number, length: number): DmaError {
  return new DmaError('EIO', `${channel}: the core says that it moved ${moved} bytes of ${length}`, {
    remedy: 'check lengthBits, and that the registers are those of an AXI DMA',
  });
}

export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
