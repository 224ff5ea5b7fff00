/**
 * A domain of functions behind VFIO. How it opens them is its own affair:
 *
 *      container   /dev/vfio/vfio, with the groups of its functions attached     (container.ts)
 *
 * The registry of groups (group.ts) decides which domain a function goes to; the transport of a function reads from
 * here whether a hot reset would hit functions that this program does not hold.
 */
import { IommuDomain } from '../../dma/operations/domain.ts';
import { DmaError } from '../../errors.ts';
import type { HugePages } from '../../memory/hugepages.ts';
import type { Handle } from '../../native/addon.ts';
import type { FunctionFacts } from '../facts.ts';

/** A domain that can open devices through VFIO. */
export abstract class VfioDomain extends IommuDomain {
  /**
   * Opens a function whose device sees this domain's address space from then on.
   * @returns a device of the vfio functions; it belongs to the caller
   * @throws DmaError as `openPci`; nothing has changed then
   */
  abstract openDevice(facts: FunctionFacts): Handle;

  /** Lets go of an IOMMU group. All of its devices are closed. */
  abstract leaveGroup(group: number): void;

  /**
   * Where a function is that a hot reset hits, in words; undefined when this program holds it.
   * @param id as `vfioHotResetInfo` tells it
   */
  abstract elsewhere(id: number): string | undefined;
}

/** The wishes of `openPci`'s caller for a function's domain. */
export interface DomainWish {
  readonly domain?: IommuDomain | undefined;
  readonly hugepages: HugePages;
}

/** The domain that a function is to join. @throws DmaError EINVAL not of VFIO, or other memory · ENODEV closed */
export function checkWanted(address: string, domain: IommuDomain, hugepages: HugePages): VfioDomain {
  if (!(domain instanceof VfioDomain)) {
    throw new DmaError('EINVAL', `${address} cannot be in a domain that is not of VFIO`, {
      remedy: 'pass the domain of a function that is open through VFIO',
    });
  }
  if (domain.closed) {
    throw new DmaError('ENODEV', `${address} cannot be in a domain that is closed`, {
      remedy: 'open it before the last function of the domain is closed',
    });
  }
  checkMemory(address, domain, hugepages);
  return domain;
}

/** @throws DmaError EINVAL the caller insists on huge pages, and the domain's memory has none */
export function checkMemory(address: string, { memory }: IommuDomain, hugepages: HugePages): void {
  if (hugepages === false || hugepages === 'prefer' || memory.name === 'hugetlb') return;
  throw new DmaError('EINVAL', `${address}: the memory of the domain is not of huge pages`, {
    remedy: 'ask for them where the first function of the domain is opened',
  });
}
