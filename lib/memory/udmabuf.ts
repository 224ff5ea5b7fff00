/**
 * Memory of this library as a dma-buf, through Linux's /dev/udmabuf (drivers/dma-buf/udmabuf.c). The dma-buf has the
 * same pages that the device has mapped: nothing is copied, and each side sees the other's writes.
 *
 * (The u-dma-buf of the FPGA world is another driver: it allocates memory of its own.)
 */

import { closeSync, readFileSync } from 'node:fs';
import { checkOptions, checkText } from '../arguments.ts';
import { openNode, under } from '../device-node.ts';
import { DmaError, errnoName } from '../errors.ts';
import { loadAddon } from '../native/load.ts';
import { DmaBuf } from './dma-buf.ts';
import { type MemfdMemory, memfdMemoryOf } from './memfd.ts';

/** Whole pages of a live allocation: the buffer of a coherent or noncoherent allocation, or a part of it. */
export type ExportableMemory = ArrayBufferLike | ArrayBufferView;

/** Options of `exportDmaBuf`. */
export interface ExportOptions {
  /** Prefix of /sys and /dev, so that a recorded tree can stand for a machine. Default `/`. */
  readonly root?: string;
}

/** A part of a memfd. */
interface Piece {
  readonly memory: MemfdMemory;
  readonly buffer: ArrayBufferLike;
  readonly fd: number;
  readonly offset: number;
  readonly size: number;
}

/**
 * A dma-buf of memory that a device behind VFIO allocated. Several pieces follow each other in it. It is independent
 * of the allocation. After `free()` the device does not reach the pages any more, but every holder of the dma-buf, in
 * any process, still sees the same pages, and they are never allocated again. (If they are part of a transparent huge
 * page, `free()` clears them instead: /sys/kernel/mm/transparent_hugepage/shmem_enabled, usually `never`.)
 * @throws DmaError EINVAL not such memory, not whole pages, or over a limit of the driver · ENODEV there is no
 *   udmabuf driver · EACCES no permission · ENOMEM, EMFILE
 */
export function exportDmaBuf(
  memory: ExportableMemory | readonly ExportableMemory[],
  options: ExportOptions = {},
): DmaBuf {
  checkOptions<ExportOptions>(options, 'exportDmaBuf', { root: checkText });
  const { root = '/' } = options;
  const pieces = (Array.isArray(memory) ? memory : [memory]).map(pieceOf);
  checkLimits(pieces, root);
  const native = loadAddon();
  const device = openNode({
    path: under(root, '/dev/udmabuf'),
    absent: 'load the module (modprobe udmabuf); the kernel needs CONFIG_UDMABUF',
    rule: 'KERNEL=="udmabuf"',
  });
  try {
    const numbers = pieces.flatMap(({ fd, offset, size }) => [fd, offset, size]);
    const handle = native.udmabufCreate(device, Float64Array.from(numbers));
    if (handle < 0) throw createError(handle, pieces);
    for (const { memory, buffer } of pieces) memory.share(buffer);
    return new DmaBuf(native, handle);
  } finally {
    closeSync(device);
  }
}

function pieceOf(part: ExportableMemory): Piece {
  const isView = ArrayBuffer.isView(part);
  const buffer = isView ? part.buffer : part;
  const memory = memfdMemoryOf(buffer);
  const file = memory?.fileOf(buffer);
  if (memory === undefined || file === undefined) {
    throw new DmaError('EINVAL', 'only memory that a device behind VFIO allocated can be made a dma-buf', {
      remedy:
        'export the buffer of allocCoherent() or allocNoncoherent() that is not freed; simulated memory is no file, ' +
        'and what came from elsewhere is copied into such a buffer first',
    });
  }
  const start = isView ? part.byteOffset : 0;
  const size = part.byteLength;
  const { pageSize } = memory;
  if (size === 0 || start % pageSize !== 0 || size % pageSize !== 0) {
    throw new DmaError('EINVAL', `bytes ${start} to ${start + size} of a buffer are not whole pages`, {
      remedy: `start at a multiple of ${pageSize}, and allocate and export multiples of it`,
    });
  }
  return { memory, buffer, fd: file.fd, offset: file.offset + start, size };
}

/**
 * The kernel answers all these mistakes with a bare EINVAL, so this function names them. If a limit cannot be read,
 * the kernel decides.
 */
function checkLimits(pieces: readonly Piece[], root: string): void {
  if (pieces.length === 0) {
    throw new DmaError('EINVAL', 'no memory to make a dma-buf of', { remedy: 'pass at least one buffer' });
  }
  const list = parameter('list_limit', root);
  if (pieces.length > list) {
    throw new DmaError('EINVAL', `${pieces.length} pieces, and a udmabuf has at most ${list}`, {
      remedy: raise('list_limit', pieces.length, root),
    });
  }
  const megabytes = parameter('size_limit_mb', root);
  const total = pieces.reduce((sum, { size }) => sum + size, 0);
  if (total > megabytes * 2 ** 20) {
    throw new DmaError('EINVAL', `${total} bytes, and a udmabuf has at most ${megabytes} MiB`, {
      remedy: raise('size_limit_mb', Math.ceil(total / 2 ** 20), root),
    });
  }
}

function parameter(name: string, root: string): number {
  try {
    const value = Number.parseInt(readFileSync(parameterPath(name, root), 'utf8'), 10);
    return value >= 0 ? value : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function parameterPath(name: string, root: string): string {
  return under(root, `/sys/module/udmabuf/parameters/${name}`);
}

function raise(name: string, needed: number, root: string): string {
  const path = parameterPath(name, root);
  return `write ${needed} to ${path} as root, or load the module or boot with udmabuf.${name}=${needed}`;
}

function createError(errno: number, pieces: readonly Piece[]): DmaError {
  const syscall = 'UDMABUF_CREATE_LIST';
  const code = errnoName(errno);
  switch (code) {
    case 'ENOTTY':
      return new DmaError('ENODEV', '/dev/udmabuf is not the udmabuf driver', {
        syscall,
        remedy: 'load the module (modprobe udmabuf), which makes the node',
      });
    case 'ENOMEM':
      return new DmaError(code, 'the kernel has no memory for the dma-buf', {
        syscall,
        remedy: 'free something',
      });
    case 'EMFILE':
      return new DmaError(code, 'no file descriptor is left', {
        syscall,
        remedy: 'raise the limit of open files (ulimit -n)',
      });
    default:
      return new DmaError(code, `no dma-buf can be made of ${pieces.length} pieces (${code})`, {
        syscall,
        remedy: 'the kernel may be too old for such pages; the kernel log (dmesg) may say why',
      });
  }
}
