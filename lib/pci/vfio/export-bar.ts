/**
 * Registers of a function as a dma-buf (VFIO_DEVICE_FEATURE_DMA_BUF), for a driver of the kernel or another program
 * that leads DMA to them.
 */
import { checkOptions, checkSize, whole } from '../../arguments.ts';
import { checkRegisters } from '../../dma/streaming/resource.ts';
import { DmaError, errnoName } from '../../errors.ts';
import { VfioWindow } from '../../iommu/vfio-window.ts';
import { DmaBuf } from '../../memory/dma-buf.ts';
import { loadAddon } from '../../native/load.ts';
import type { Bar } from '../bar.ts';

/** Options of `exportBar`. */
export interface ExportBarOptions {
  /** The first byte, a multiple of the page size. Default 0. */
  readonly offset?: number;
  /** Bytes, whole pages. Default: to the end of the BAR. */
  readonly size?: number;
}

/**
 * A dma-buf of the registers of a function that is open through VFIO. It is passed on by its descriptor (`fd`): the CPU
 * cannot map it. The kernel cuts its holders off when the registers cease to answer (memory decode or power is off,
 * a reset) and when the function is closed.
 * @throws DmaError EINVAL no memory BAR of such a function, or not whole pages of it · EPERM a part belongs to the host
 *   (MSI-X) · EOPNOTSUPP the kernel cannot (before Linux 6.19, or without CONFIG_VFIO_PCI_DMABUF) · ENODEV the
 *   function is closed · EMFILE
 */
export function exportBar(bar: Bar, options: ExportBarOptions = {}): DmaBuf {
  checkOptions<ExportBarOptions>(options, 'exportBar', {
    offset: whole(0, Number.MAX_SAFE_INTEGER),
    size: (size, what) => checkSize(size, what),
  });
  const window = bar?.window;
  if (!(window instanceof VfioWindow)) {
    throw new DmaError('EINVAL', 'not a memory BAR of a function that is open through VFIO', {
      remedy: 'pass fn.bar(n) of a function that openPci opened by its address',
    });
  }
  const { offset = 0, size = window.size - offset } = options;
  const native = loadAddon();
  checkRegisters(window, offset, size, native.pageSize(), false);
  const handle = native.dmaBufOfWindow(window.handle, offset, size);
  if (handle > 0) return new DmaBuf(native, handle);
  throw exportError(handle);
}

function exportError(errno: number): DmaError {
  const code = errnoName(errno);
  const syscall = 'VFIO_DEVICE_FEATURE_DMA_BUF';
  switch (code) {
    case 'EBADF':
      return new DmaError('ENODEV', 'the function of the BAR is closed', { remedy: 'open it again' });
    case 'ENOTTY':
    case 'EOPNOTSUPP':
      return new DmaError('EOPNOTSUPP', 'this kernel makes no dma-buf of registers', {
        syscall,
        remedy: 'use Linux 6.19 or newer with CONFIG_VFIO_PCI_DMABUF',
      });
    case 'EMFILE':
      return new DmaError(code, 'no file descriptor is left', {
        syscall,
        remedy: 'raise the limit of open files (ulimit -n)',
      });
    default:
      return new DmaError(code, `the registers cannot be made a dma-buf (${code})`, {
        syscall,
        remedy: 'the kernel log (dmesg) may say why',
      });
  }
}
