/** The errors of lists, with the codes of dma_map_sgtable. */
import { DmaError } from '../../errors.ts';

/** True if the system refused to pin the memory. A copy may still be possible. */
export function isRefusal(error: unknown): boolean {
  return error instanceof DmaError && ['ENOMEM', 'ENOSPC', 'EFAULT'].includes(error.code);
}

/**
 * Convert an error to one of dma_map_sgtable. That function knows four codes: EINVAL and EREMOTEIO (do not retry),
 * ENOMEM (retry later), EIO (anything else). ENODEV stays as it is: nothing was attempted.
 */
export function sgError(error: unknown): unknown {
  if (!(error instanceof DmaError)) return error;
  if (error.code === 'EINVAL' || error.code === 'ENOMEM' || error.code === 'ENODEV') return error;
  const code = error.code === 'ENOSPC' ? 'ENOMEM' : 'EIO';
  return new DmaError(code, `the list was not mapped: ${error.message}`, {
    syscall: error.syscall,
    cause: error,
  });
}

/** The error for a buffer of a list that was detached while the list was mapped. */
export function detachedInList(nents: number, remedy: string): DmaError {
  return new DmaError('EINVAL', `a buffer of a mapped list of ${nents} elements was detached`, { remedy });
}
