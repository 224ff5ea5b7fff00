/** Opening nodes of /dev, with an error that contains the remedy. */
import { constants, openSync } from 'node:fs';
import { DmaError, type ErrnoName, errnoName } from './errors.ts';

export interface DeviceNode {
  readonly path: string;
  /** The remedy if the node does not exist. */
  readonly absent: string;
  /** The match keys of a udev rule for it, e.g. `KERNEL=="udmabuf"`. */
  readonly rule: string;
}

/** An absolute path in the tree that starts at `root`. */
export function under(root: string, path: string): string {
  return root.replace(/\/+$/, '') + path;
}

/**
 * A descriptor for reading and writing, in non-blocking mode, close-on-exec. The caller closes it.
 * @throws DmaError ENODEV it does not exist, or has no device behind it · EACCES no permission · EMFILE · the error
 *   of its driver
 */
export function openNode({ path, absent, rule }: DeviceNode): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    throw openError(path, absent, rule, cause);
  }
}

/** The remedy for a node that another user owns. @param rule as in DeviceNode */
export function ownershipRemedy(path: string, rule: string): string {
  const user = userName();
  return (
    `as root: chown ${user} ${path}, or for good, a file in /etc/udev/rules.d with the line ` +
    `${rule}, OWNER="${user}"`
  );
}

function openError(path: string, absent: string, rule: string, cause: unknown): DmaError {
  const fail = (code: ErrnoName, message: string, remedy: string): DmaError =>
    new DmaError(code, message, { syscall: 'open', cause, remedy });
  const { code, errno = 0 } = cause as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return fail('ENODEV', `there is no ${path}`, absent);
    case 'ENODEV':
    case 'ENXIO':
      return fail('ENODEV', `${path} has no device behind it (${code})`, 'check that its driver is bound');
    case 'EACCES':
    case 'EPERM':
      return fail('EACCES', `no permission to open ${path}`, ownershipRemedy(path, rule));
    case 'EMFILE':
      return fail(code, `${path} cannot be opened`, 'raise the limit of open files (ulimit -n)');
    default:
      return fail(errnoName(errno), `${path} cannot be opened (${code})`, 'check that it is a device node');
  }
}

function userName(): string {
  try {
    return process.getBuiltinModule('node:os').userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'USER'); // a user id without a passwd entry
  }
}
