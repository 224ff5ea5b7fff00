/**
 * The facts about a u-dma-buf in /sys. The library reads them before it opens the node, and refuses a buffer that it
 * cannot use.
 *
 *      /sys/class/u-dma-buf/<name>/phys_addr  size  sync_mode  dma_coherent  ioctl_version  ...
 *      /sys/class/udmabuf/<name>/             the same files, with old versions of the module
 *      /dev/<name>                            the memory
 *
 * The module prints some numbers in hexadecimal and some in decimal. `root` is a prefix for every absolute path, so
 * that a recorded tree can stand for a machine.
 */
import { basename, dirname } from 'node:path';
import { quote } from '../arguments.ts';
import { DmaError } from '../errors.ts';
import { linkTarget, listFolder, readText } from '../files.ts';

export interface UDmaBufFacts {
  /** The name in /dev, e.g. `udmabuf0`. */
  readonly name: string;
  /** The folder of its attributes. */
  readonly folder: string;
  /** The path of its device node. */
  readonly node: string;
  /** The device address of its first byte (phys_addr). */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /**
   * The effect of O_SYNC on a mapping: 0 leaves it cached, 1 makes it uncached, 2 write-combining, 3 as
   * dma_mmap_coherent. 4 more means that the effect does not need O_SYNC.
   */
  readonly syncMode: number;
  /** True if its device sees the CPU's caches. */
  readonly coherent: boolean;
  /** 0 means that it has no ioctls. */
  readonly ioctlVersion: number;
}

const CLASSES = ['u-dma-buf', 'udmabuf'];

/**
 * The facts about a u-dma-buf that may be mapped.
 * @throws DmaError EINVAL not a name · ENODEV the module or the buffer does not exist · EIO attributes make no sense
 *   · EOPNOTSUPP its device is behind a translating IOMMU
 */
export function readUDmaBuf(name: string, root: string): UDmaBufFacts {
  checkName(name);
  const folders = CLASSES.map((one) => `${root}/sys/class/${one}`);
  const folder = folders.find((one) => listFolder(one).includes(name));
  if (folder === undefined) throw notThere(name, folders);
  const attributes = new Attributes(`${folder}/${name}`);
  checkUntranslated(attributes.folder, name, root);
  return {
    name,
    folder: attributes.folder,
    node: `${root}/dev/${name}`,
    address: attributes.number('phys_addr'),
    size: attributes.number('size'),
    syncMode: attributes.number('sync_mode', 7),
    // Some kernels do not tell. The default is then what is usual for their processors.
    coherent: attributes.number('dma_coherent', 1, process.arch === 'x64' ? 1 : 0) === 1,
    ioctlVersion: attributes.number('ioctl_version', 255, 0),
  };
}

/** The class of a buffer's folder, which is its subsystem for udev. */
export function className(folder: string): string {
  return basename(dirname(folder));
}

/** Bytes of the longest cache line of this machine (dma_get_cache_alignment). */
export function cacheLineSize(root: string): number {
  const folder = `${root}/sys/devices/system/cpu/cpu0/cache`;
  const sizes = listFolder(folder).map((index) => Number(readText(`${folder}/${index}/coherency_line_size`)));
  const largest = Math.max(0, ...sizes.filter((size) => Number.isInteger(Math.log2(size))));
  // The kernel does not tell: use ARCH_DMA_MINALIGN.
  return largest > 0 ? largest : process.arch === 'arm64' ? 128 : 64;
}

/** True if the module was last told that the device owns the buffer (sync_owner). */
export function ownedByDevice({ folder }: UDmaBufFacts): boolean {
  return readText(`${folder}/sync_owner`)?.trim() === '1';
}

class Attributes {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** @throws DmaError EIO if it is absent and `missing` is not given, is not a number, or is above `max` */
  number(name: string, max: number = Number.MAX_SAFE_INTEGER, missing?: number): number {
    const text = readText(`${this.folder}/${name}`)?.trim();
    if (text === undefined && missing !== undefined) return missing;
    const value = text !== undefined && /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : Number.NaN;
    if (value <= max) return value;
    const what = text === undefined ? 'cannot be read' : `holds ${JSON.stringify(text.slice(0, 40))}`;
    throw new DmaError('EIO', `${this.folder}/${name} ${what}, not a number up to ${max}`, {
      remedy: 'check that the module u-dma-buf made it, and which version (driver_version)',
    });
  }
}

function checkName(name: string): void {
  if (typeof name === 'string' && /^[\w.-]+$/.test(name) && !/^\.+$/.test(name)) return;
  throw new DmaError('EINVAL', `${quote(name)} is not the name of a u-dma-buf`, {
    remedy: 'pass one as in /sys/class/u-dma-buf, e.g. udmabuf0',
  });
}

function notThere(name: string, folders: readonly string[]): DmaError {
  const present = folders.flatMap(listFolder);
  if (present.length > 0) {
    return new DmaError('ENODEV', `there is no u-dma-buf ${name}`, {
      remedy: `there is ${present.join(', ')}; \`modprobe u-dma-buf ${name}=BYTES\` or the device tree makes more`,
    });
  }
  const other = name === 'udmabuf' ? " (/dev/udmabuf is the kernel's own driver, a different thing)" : '';
  return new DmaError('ENODEV', `there is no u-dma-buf ${name}${other}: its module is not loaded`, {
    remedy:
      'build it (github.com/ikwzm/udmabuf; it does not come with the kernel) and run ' +
      '`modprobe u-dma-buf udmabuf0=BYTES`, or describe the buffer in the device tree',
  });
}

/**
 * Behind a translating IOMMU, phys_addr is an I/O virtual address. Mapping the node is then a bug in the kernel: it
 * stops at BUG in vm_insert_page, or maps unrelated memory that has that number. So this library maps nothing then.
 */
function checkUntranslated(folder: string, name: string, root: string): void {
  const group = linkTarget(`${folder}/device/iommu_group`);
  if (group === undefined) return;
  const type = readText(`${root}/sys/kernel/iommu_groups/${basename(group)}/type`)?.trim() ?? 'unknown';
  if (type === 'identity') return;
  const device = basename(linkTarget(`${folder}/device`) ?? 'a device');
  throw new DmaError(
    'EOPNOTSUPP',
    `u-dma-buf ${name} is bound to ${device}, which an IOMMU translates for (group ${basename(group)}, type ${type}): ` +
      'the kernel crashes when such a buffer is mapped',
    {
      remedy: `open ${device} through VFIO, which needs no u-dma-buf, or boot with iommu=pt (on Arm iommu.passthrough=1)`,
    },
  );
}
