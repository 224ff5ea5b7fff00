/** The PCI functions of this machine, as Linux shows them in /sys. This file touches no device. */
import { checkText } from '../arguments.ts';
import { listFolder, readText } from '../files.ts';
import type { BarInfo } from './bar.ts';
import { DEVICES, readFacts } from './facts.ts';
import { type PciNames, readPciNames } from './names.ts';
import { readResources } from './unsafe/resources.ts';

/** What /sys says of a PCI function. */
export interface PciDescription {
  /** `domain:bus:device.function` */
  readonly address: string;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Base class, sub-class and programming interface, 24 bits. */
  readonly classCode: number;
  /** The name in the system's pci.ids; undefined if there is no file, or no entry. */
  readonly className: string | undefined;
  readonly vendorName: string | undefined;
  readonly deviceName: string | undefined;
  readonly driver: string | undefined;
  /** IOMMU group */
  readonly group: number | undefined;
  /** The NUMA node nearest to it; undefined where there is only one. */
  readonly numaNode: number | undefined;
  readonly bars: readonly BarInfo[];
}

/**
 * Every function, by address; none on a system without Linux's sysfs.
 * @param root prefix of /sys and /usr, for a recorded tree
 */
export function listPci(root = ''): PciDescription[] {
  checkText(root, 'the root of the tree');
  const names = readPciNames(root);
  return listFolder(root + DEVICES).map((address) => describe(address, names, root));
}

/**
 * One function.
 * @throws DmaError EINVAL malformed address
 * @returns undefined if there is no function at this address
 */
export function describePci(text: string, root = ''): PciDescription | undefined {
  checkText(root, 'the root of the tree');
  const { address, exists } = readFacts(text, root);
  return exists ? describe(address, readPciNames(root), root) : undefined;
}

function describe(address: string, names: PciNames, root: string): PciDescription {
  const folder = `${root}${DEVICES}/${address}`;
  const number = (file: string) => Number(readText(`${folder}/${file}`)?.trim() || Number.NaN);
  const vendorId = number('vendor');
  const deviceId = number('device');
  const classCode = number('class');
  const { driver, group, numaNode } = readFacts(address, root);
  return {
    ...{ address, vendorId, deviceId, classCode, driver, group },
    className: names.classOf(classCode),
    vendorName: names.vendor(vendorId),
    deviceName: names.device(vendorId, deviceId),
    numaNode: numaNode >= 0 ? numaNode : undefined,
    bars: barsOf(folder),
  };
}

/** If one BAR has no address, `readResources` throws, and the list shows no BAR. */
function barsOf(folder: string): BarInfo[] {
  try {
    return readResources(folder).flatMap((resource) => (resource === undefined ? [] : [resource.info]));
  } catch {
    return [];
  }
}
