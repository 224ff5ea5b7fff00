/** Opening a u-dma-buf, and the errors of each step, each with the fix. */

import { writeFileSync } from 'node:fs';
import { checkBoolean, checkOptions, checkText } from '../arguments.ts';
import { DmaError, errnoName } from '../errors.ts';
import type { Addon, Handle } from '../native/addon.ts';
import { loadAddon } from '../native/load.ts';
import { UDmaBufMemory } from './u-dma-buf.ts';
import { IoctlSync, type SyncChannel, SysfsSync, unwritable } from './u-dma-buf-sync.ts';
import {
  cacheLineSize,
  className,
  ownedByDevice,
  readUDmaBuf,
  type UDmaBufFacts,
} from './u-dma-buf-sysfs.ts';

/** Options of `openUDmaBuf`. */
export interface OpenUDmaBufOptions {
  /** Prefix of /sys and /dev, so that a recorded tree can stand for a machine. Default `/`. */
  readonly root?: string;
  /**
   * True if the CPU may cache memory that the driver syncs anyway. With false, all memory is uncached and needs no
   * sync, but reading it is several times slower. It makes no difference to a device that sees the CPU's caches.
   * Default true.
   */
  readonly cached?: boolean;
}

/**
 * sync_mode for mappings with O_SYNC: mapped as dma_mmap_coherent does. The module's default, 1, maps the memory like
 * registers. On arm64 an unaligned access to that mapping faults, and so does the instruction behind memset (dc zva).
 * `fill` and `set` use both.
 */
const MODE_DMA_COHERENT = 3;
const MODE_WRITE_COMBINE = 2;
/** From this mode on, mappings without O_SYNC are affected, too. */
const MODE_ALWAYS = 4;

/**
 * Open the buffer of the kernel module u-dma-buf, for `new DmaDevice({ name, memory, cache: memory.cache })`. Only
 * one opener can have it at a time, among all processes that use this library. If device and CPU do not see the same
 * bytes, 'coherent' memory is uncached, and this function sets `sync_mode` of the buffer to 3 unless it is 2.
 *
 * @param name as in /sys/class/u-dma-buf, e.g. `udmabuf0`
 * @throws DmaError EINVAL not a name · ENODEV module, buffer or node absent · EOPNOTSUPP its device is behind a
 *   translating IOMMU · EIO /sys or the node make no sense · EACCES no permission · EBUSY in use · ENXIO the node has
 *   fewer bytes than /sys says · ENOSYS addon not built
 */
export function openUDmaBuf(name: string, options: OpenUDmaBufOptions = {}): UDmaBufMemory {
  checkOptions<OpenUDmaBufOptions>(options, 'openUDmaBuf', { root: checkText, cached: checkBoolean });
  const { root = '/', cached = true } = options;
  const prefix = root.replace(/\/+$/, '');
  const facts = readUDmaBuf(name, prefix);
  const addon = loadAddon();
  const pageSize = addon.pageSize();
  checkPages(facts, pageSize);
  const undo: (() => void)[] = [];
  const map = (size: number, uncached: boolean, lock: boolean): Handle => {
    const region = addon.uDmaBufOpen(facts.node, size, uncached, lock);
    if (region < 0) throw openError(facts, region);
    undo.unshift(() => addon.regionRevoke(region));
    return region;
  };
  try {
    const control = map(pageSize, false, true);
    checkNode(addon, control, facts);
    const uncached = !cached || !facts.coherent;
    prepareMode(addon, control, facts, uncached);
    const whole = Math.floor(facts.size / pageSize) * pageSize;
    const channel = facts.coherent ? undefined : openChannel(addon, control, facts);
    undo.unshift(() => channel?.close());
    return new UDmaBufMemory(addon, {
      device: name,
      address: facts.address,
      size: whole,
      control,
      coherent: map(whole, uncached, false),
      cached: cached && !facts.coherent ? map(whole, false, false) : undefined,
      channel,
      lineSize: cacheLineSize(prefix),
    });
  } catch (error) {
    for (const step of undo) step();
    throw error;
  }
}

function checkPages({ name, address, size }: UDmaBufFacts, pageSize: number): void {
  if (address % pageSize === 0 && size >= pageSize && Number.isSafeInteger(address + size)) return;
  const where = `${size} bytes at address 0x${address.toString(16)}`;
  throw new DmaError('EIO', `u-dma-buf ${name} has ${where}, not one whole page of ${pageSize} bytes`, {
    remedy: `load the module with a larger buffer (modprobe u-dma-buf ${name}=BYTES)`,
  });
}

/** Asks the module itself, if it can be asked: another driver may have a node of that name. */
function checkNode(addon: Addon, control: Handle, facts: UDmaBufFacts): void {
  if (facts.ioctlVersion === 0) return;
  const info = addon.uDmaBufInfo(control);
  const same =
    typeof info === 'object' && info.address === BigInt(facts.address) && info.size === BigInt(facts.size);
  if (same) return;
  const says =
    typeof info === 'number'
      ? errnoName(info)
      : `${info.size} bytes at address 0x${info.address.toString(16)}`;
  throw new DmaError(
    'EIO',
    `${facts.node} is not the buffer that ${facts.folder} describes: it says ${says}`,
    {
      remedy: 'remove the node and let udev make it again (udevadm trigger), or load the module again',
      syscall: 'U_DMA_BUF_IOCTL_GET_DEV_INFO',
    },
  );
}

/** @param uncached true if there will be mappings with O_SYNC, which must be ordinary uncached memory */
function prepareMode(addon: Addon, control: Handle, facts: UDmaBufFacts, uncached: boolean): void {
  const { syncMode, ioctlVersion, folder } = facts;
  if (syncMode < MODE_ALWAYS && (!uncached || syncMode >= MODE_WRITE_COMBINE)) return;
  if (ioctlVersion > 0) {
    const result = addon.uDmaBufSetMode(control, MODE_DMA_COHERENT);
    if (result < 0) throw openError(facts, result);
    return;
  }
  try {
    writeFileSync(`${folder}/sync_mode`, `${MODE_DMA_COHERENT}\n`);
  } catch (cause) {
    throw unwritable(folder, cause);
  }
}

function openChannel(addon: Addon, control: Handle, { ioctlVersion, folder }: UDmaBufFacts): SyncChannel {
  return ioctlVersion > 0 ? new IoctlSync(addon, control) : new SysfsSync(folder);
}

function openError(facts: UDmaBufFacts, errno: number): DmaError {
  const { name, node, size } = facts;
  const code = errnoName(errno);
  if (code === 'ENOENT') {
    return new DmaError('ENODEV', `u-dma-buf ${name} is there but its node ${node} is not`, {
      remedy: 'let udev make it (udevadm trigger), or in a container pass it in (--device)',
      syscall: 'open',
    });
  }
  const fail = (message: string, remedy: string) => new DmaError(code, message, { remedy, syscall: 'open' });
  switch (code) {
    case 'EMFILE':
      return fail(`${node} cannot be opened`, 'raise the limit of open files (ulimit -n)');
    case 'EACCES':
    case 'EPERM':
      return fail(
        `no permission to open ${node}`,
        'as root, add to /etc/udev/rules.d/99-u-dma-buf.rules the line ' +
          `SUBSYSTEM=="${className(facts.folder)}", OWNER="${process.getuid?.() ?? 'USER'}" and load the module again`,
      );
    case 'EBUSY': {
      const owner = ownedByDevice(facts) ? '; the device owns it now (sync_owner)' : '';
      return fail(
        `u-dma-buf ${name} is in use, by this process or another${owner}`,
        `close what was opened before (fuser -v ${node} shows who has it), or make a buffer for each`,
      );
    }
    case 'ENXIO':
    case 'EINVAL':
      return fail(
        `${node} cannot be mapped as the ${size} bytes that ${facts.folder} tells of`,
        'see the kernel log, and load the module again',
      );
    default:
      return fail(`${node} cannot be opened`, 'see the kernel log');
  }
}
