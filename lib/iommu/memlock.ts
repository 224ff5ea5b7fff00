/**
 * The locked-memory limit (RLIMIT_MEMLOCK). Every DMA mapping of this process counts against it. type1 counts for
 * each process (mm->locked_vm). iommufd counts for each user (user->locked_vm), so other processes of the user count
 * there, too. Pages that are mapped at two addresses count twice, and huge pages count, too. A process with
 * CAP_IPC_LOCK has no limit.
 */
import { readFileSync } from 'node:fs';

export interface Memlock {
  /** Bytes locked now. */
  readonly locked: number;
  /** Bytes allowed (soft limit); Infinity if there is no limit. */
  readonly limit: number;
}

const CAP_IPC_LOCK = 14n;

/** Where the kernel counts the pages that it pinned for a process: type1 in VmLck, iommufd in VmPin. */
export type LockedMemory = 'VmLck' | 'VmPin';

/** The limit of this process, from /proc; undefined if /proc cannot be read. */
export function readMemlock(counter: LockedMemory, root = ''): Memlock | undefined {
  try {
    return parseMemlock(
      counter,
      readFileSync(`${root}/proc/self/status`, 'utf8'),
      readFileSync(`${root}/proc/self/limits`, 'utf8'),
    );
  } catch {
    return undefined;
  }
}

function parseMemlock(counter: LockedMemory, status: string, limits: string): Memlock | undefined {
  const locked = new RegExp(`^${counter}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  const capabilities = /^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1];
  const limit = /^Max locked memory\s+(\d+|unlimited)\s/m.exec(limits)?.[1];
  if (locked === undefined || capabilities === undefined || limit === undefined) return undefined;
  const exempt = ((BigInt(`0x${capabilities}`) >> CAP_IPC_LOCK) & 1n) === 1n;
  return {
    locked: Number(locked) * 1024,
    limit: exempt || limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit),
  };
}

/** The remedy after `size` more bytes could not be locked; undefined if the limit was not the reason. */
export function memlockRemedy(size: number, memlock: Memlock | undefined): string | undefined {
  if (memlock === undefined || memlock.locked + size <= memlock.limit) return undefined;
  const needed = Math.ceil((memlock.locked + size) / 1024);
  return (
    `${needed} KiB of locked memory are needed in all, the limit is ${Math.floor(memlock.limit / 1024)} KiB ` +
    `(RLIMIT_MEMLOCK): raise it with ulimit -l ${needed} or more in the shell (/etc/security/limits.conf for good), ` +
    'LimitMEMLOCK= in a systemd unit, --ulimit memlock= for a container, or give the process CAP_IPC_LOCK'
  );
}
