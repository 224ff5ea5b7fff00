/**
 * Finding the function to which an open VFIO node belongs, for programs that get their descriptors from another
 * program.
 */
import { fstatSync } from 'node:fs';
import { basename } from 'node:path';
import { describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { linkTarget } from '../../files.ts';
import type { PciDescriptor } from '../transport.ts';

/**
 * The address of the function.
 * @param root prefix of `/sys`, for a recorded tree
 * @throws DmaError EINVAL it is not an open /dev/vfio/devices/vfioN; the descriptor was not touched
 */
export function addressOf({ fd, iommufd }: PciDescriptor, root = ''): string {
  if (iommufd !== undefined) checkDescriptor(iommufd, 'iommufd');
  checkDescriptor(fd, 'fd');
  const device = numberOf(fd);
  const folder = device === undefined ? undefined : `${root}/sys/dev/char/${device}`;
  const kind = folder === undefined ? undefined : linkTarget(`${folder}/subsystem`);
  const target = folder === undefined ? undefined : linkTarget(`${folder}/device`);
  if (target !== undefined && kind !== undefined && basename(kind) === 'vfio-dev') return basename(target);
  throw new DmaError('EINVAL', `descriptor ${fd} is not that of a function`, {
    remedy:
      'pass one of /dev/vfio/devices/vfioN, open for reading and writing, which no other opener has used yet',
  });
}

/** `major:minor` of a character device. */
function numberOf(fd: number): string | undefined {
  try {
    const stat = fstatSync(fd);
    if (!stat.isCharacterDevice()) return undefined;
    // The layout of dev_t in glibc (gnu_dev_major, gnu_dev_minor), in 32 bits each.
    const { rdev } = stat;
    const major = (Math.floor(rdev / 256) & 0xfff) + (Math.floor(rdev / 2 ** 44) & 0xfffff) * 2 ** 12;
    const minor = (rdev & 0xff) + (Math.floor(rdev / 2 ** 20) & 0xffffff) * 2 ** 8;
    return `${major}:${minor}`;
  } catch {
    return undefined;
  }
}

function checkDescriptor(fd: unknown, name: string): void {
  if (typeof fd === 'number' && Number.isInteger(fd) && fd >= 0 && fd < 2 ** 31) return;
  throw new DmaError('EINVAL', `${name} is ${describe(fd)}`, {
    remedy: 'pass an open descriptor, a whole number from 0 on',
  });
}
