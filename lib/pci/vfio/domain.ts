/**
 * A domain of functions behind VFIO. Each kind of domain opens its functions in its own way:
 *
 *      container   /dev/vfio/vfio, with the groups of its functions attached     (container.ts)
 *      iommufd     an IOAS of /dev/iommu, with its functions attached            (iommufd.ts)
 *
 * The registry of groups (group.ts) decides which domain a function goes to. The transport of a function asks the
 * domain which functions of a hot reset this program does not hold.
 */
import { IommuDomain } from '../../dma/operations/domain.ts';
import { DmaError } from '../../errors.ts';
import type { HugePages } from '../../memory/hugepages.ts';
import type { MemfdMemory } from '../../memory/memfd.ts';
import type { Handle } from '../../native/addon.ts';
import type { FunctionFacts } from '../facts.ts';
import type { IommuInterface } from '../transport.ts';

/** A function to be opened. */
export interface Target {
  readonly facts: FunctionFacts;
  /** The open node of the function, if the caller passed one in; the domain's device owns it from then on. */
  readonly descriptor?: number | undefined;
  /** The token of the physical function and its virtual ones, a UUID. */
  readonly vfToken?: string | undefined;
}

/** A domain that can open devices through VFIO. */
export abstract class VfioDomain extends IommuDomain {
  abstract readonly interface: IommuInterface;

  /**
   * Opens a function. From then on its device sees the address space of this domain.
   * @returns a device of the vfio functions; the caller owns it
   * @throws DmaError as `openPci`; nothing has changed then
   */
  abstract openDevice(target: Target): Handle;

  /** Leaves an IOMMU group. All of its devices are closed by now. */
  abstract leaveGroup(group: number): void;

  /**
   * A function that a hot reset would hit: where it is, in words, or undefined if this program holds it.
   * @param id as `vfioHotResetInfo` returns it
   */
  abstract elsewhere(id: number): string | undefined;
}

/** What the caller of `openPci` wants of a function's domain. */
export interface DomainWish {
  readonly domain?: IommuDomain | undefined;
  readonly hugepages: HugePages;
  readonly numaNode?: number | undefined;
  /** Undefined: either interface. */
  readonly iommu?: IommuInterface | undefined;
}

/** The domain that a function is to join. @throws DmaError EINVAL not of VFIO, or not as wished · ENODEV closed */
export function checkWanted(address: string, domain: IommuDomain, wish: DomainWish): VfioDomain {
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
  checkWish(address, domain, wish);
  return domain;
}

/** @throws DmaError EINVAL the domain uses another interface than the caller wants, or memory without huge pages */
export function checkWish(address: string, domain: VfioDomain, wish: DomainWish): void {
  const { hugepages, iommu, numaNode } = wish;
  if (iommu !== undefined && iommu !== domain.interface) {
    throw new DmaError('EINVAL', `${address}: the domain is of ${domain.interface}, not of ${iommu}`, {
      remedy: 'leave the option iommu out, or close the other functions of the domain first',
    });
  }
  const { memory } = domain;
  if (numaNode !== undefined && (memory as MemfdMemory).numaNode !== numaNode) {
    throw new DmaError('EINVAL', `${address}: the memory of the domain is not of NUMA node ${numaNode}`, {
      remedy: 'ask for it where the first function of the domain is opened',
    });
  }
  if (hugepages === false || hugepages === 'prefer' || memory.name === 'hugetlb') return;
  throw new DmaError('EINVAL', `${address}: the memory of the domain is not of huge pages`, {
    remedy: 'ask for them where the first function of the domain is opened',
  });
}
