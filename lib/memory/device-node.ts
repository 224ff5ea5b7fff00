/** Nodes of /dev, opened with an error that says what to do. */
import { constants, openSync } from 'node:fs';
import { DmaError } from '../errors.ts';

export interface DeviceNode {
  readonly path: string;
  /** What to do when it is not there. */
  readonly absent: string;
  /** The match keys of a udev rule for it, e.g. `KERNEL=="udmabuf"`. */
  readonly rule: string;
}

/** An absolute path in the tree that starts at `root`. */
export function under(root: string, path: string): string {
  return root.replace(/\/+$/, '') + path;
}

/**
 * A descriptor for reading and writing, close-on-exec; the caller closes it.
 * @throws DmaError ENODEV it is not there · EACCES no permission · EMFILE · EIO anything else
 */
export function openNode({ path, absent, rule }: DeviceNode): number {
  try {
    return openSync(path, constants.O_RDWR);
  } catch (cause) {
    throw openError(path, absent, rule, cause);
  }
}

function openError(path: string, absent: string, rule: string, cause: unknown): DmaError {
  const syscall = 'open';
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
    case 'ENOTDIR':
      return new DmaError('ENODEV', `there is no ${path}`, { syscall, cause, remedy: absent });
    case 'EACCES':
    case 'EPERM':
      return new DmaError('EACCES', `${path} may not be opened by this user`, {
        syscall,
        cause,
        remedy: `add a udev rule (${rule}, GROUP="a group of yours", MODE="0660"), or run as root`,
      });
    case 'EMFILE':
      return new DmaError('EMFILE', `${path} cannot be opened`, {
        syscall,
        cause,
        remedy: 'raise the limit of open files (ulimit -n)',
      });
    default:
      return new DmaError('EIO', `${path} cannot be opened (${String(cause)})`, {
        syscall,
        cause,
        remedy: 'check that it is a device node',
      });
  }
}
