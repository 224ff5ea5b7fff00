/** Obstacles to using a function without VFIO, each with its remedy. */
import { existsSync } from 'node:fs';
import { DmaError } from '../../errors.ts';
import { readText } from '../../files.ts';
import { GENERIC_PCI_DRIVER } from '../../uio/rearm.ts';
import { noFunction } from '../absent.ts';
import { DEVICES, type FunctionFacts, isVfioDriver } from '../facts.ts';

/**
 * The first obstacle, or undefined.
 * @param root prefix of `/sys`
 */
export function obstacle(facts: FunctionFacts, root = ''): DmaError | undefined {
  if (!facts.exists) return noFunction(facts);
  if (facts.noIommuGroup !== undefined) return undefined;
  if (facts.group !== undefined && isVfioDriver(facts.driver)) return forOpenPci(facts);
  if (facts.driver !== undefined && facts.driver !== GENERIC_PCI_DRIVER) return taken(facts, facts.driver);
  return translated(facts.address, root);
}

/** VFIO runs without an IOMMU only for functions that have none. This one is behind one, whether it translates or not. */
function forOpenPci({ address }: FunctionFacts): DmaError {
  return new DmaError('EPERM', `${address} is bound to vfio-pci, and behind an IOMMU`, {
    remedy: 'use openPci, which is the safe way and needs no root',
  });
}

function taken({ address }: FunctionFacts, driver: string): DmaError {
  const device = `${DEVICES}/${address}`;
  return new DmaError('EBUSY', `${address} is bound to the driver ${driver}`, {
    remedy:
      `if nothing on this machine needs it, as root: echo ${address} > ${device}/driver/unbind, and for its ` +
      `interrupt: modprobe ${GENERIC_PCI_DRIVER} && echo ${GENERIC_PCI_DRIVER} > ${device}/driver_override && ` +
      `echo ${address} > /sys/bus/pci/drivers_probe`,
  });
}

/** An IOMMU domain of type identity passes addresses through. Every other type translates them. */
function translated(address: string, root: string): DmaError | undefined {
  const group = `${root}${DEVICES}/${address}/iommu_group`;
  if (!existsSync(group)) return undefined;
  const type = readText(`${group}/type`)?.trim() ?? 'unknown';
  if (type === 'identity') return undefined;
  return new DmaError(
    'EPERM',
    `${address} is behind an IOMMU that translates (its group is of type ${type})`,
    {
      remedy:
        'there physical addresses lead nowhere or to others; use openPci, which is the safe way and needs no root, ' +
        'or boot with iommu=pt where the device must be trusted with all memory',
    },
  );
}
