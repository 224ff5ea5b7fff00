/** Device files of UIO: opening one, with an error that says what to do. */
import { constants, openSync } from 'node:fs';
import { userInfo } from 'node:os';
import { DmaError, errnoName } from '../errors.ts';

/**
 * Open /dev/`node` for registers and interrupts.
 * @returns a descriptor that does not block, to be closed by the caller
 * @throws DmaError ENODEV the node is missing, or has no device behind it · EACCES no permission
 */
export function openNode(node: string, root = ''): number {
  const path = `${root}/dev/${node}`;
  try {
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    throw openError(path, cause as NodeJS.ErrnoException);
  }
}

function openError(path: string, cause: NodeJS.ErrnoException): DmaError {
  const about = { syscall: 'open', cause };
  if (cause.code === 'EACCES' || cause.code === 'EPERM') {
    const user = userName();
    return new DmaError('EACCES', `no permission to open ${path}`, {
      ...about,
      remedy:
        `as root: chown ${user} ${path}, or for good, a file in /etc/udev/rules.d with the line ` +
        `SUBSYSTEM=="uio", OWNER="${user}"`,
    });
  }
  if (cause.code === 'ENOENT') {
    return new DmaError('ENODEV', `the node ${path} is missing`, {
      ...about,
      remedy: `in a container, pass --device=${path}; elsewhere check that devtmpfs or udev fills /dev`,
    });
  }
  const code = errnoName(cause.errno ?? 0);
  return new DmaError(code === 'ENXIO' ? 'ENODEV' : code, `${path} cannot be opened (${cause.code})`, {
    ...about,
    remedy: 'check that the driver is still bound; the kernel log (dmesg) may say why',
  });
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'USER'); // a user id without a passwd entry
  }
}
