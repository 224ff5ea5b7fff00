/**
 * IOMMU groups of simulated functions. The IOMMU cannot tell the functions of a group apart, so they always share a
 * domain. They are on one bus, and a hot reset hits all of them.
 */
import { IommuDomain } from '../dma/operations/domain.ts';
import { DmaError } from '../errors.ts';
import { HighFirstIova } from '../iommu/high-first.ts';
import type { SimulatedAddressSpace } from '../iommu/simulated.ts';
import type { HeapMemory } from '../memory/heap.ts';
import type { SimulatedBus } from './bus.ts';
import type { SimulatedCache } from './cache.ts';
import type { MemoryLooks } from './memory-looks.ts';

/** A domain of the simulated world: an address space, the memory in it, and the caches between CPU and devices. */
export class SimulatedDomain extends IommuDomain {
  declare readonly space: SimulatedAddressSpace;
  readonly cache: SimulatedCache | undefined;
  /** Lets time pass while a driver polls the memory. */
  readonly looks: MemoryLooks;

  /** @param highFirst true to allocate addresses above 4 GiB first */
  constructor(
    space: SimulatedAddressSpace,
    memory: HeapMemory,
    cache: SimulatedCache | undefined,
    looks: MemoryLooks,
    highFirst = false,
  ) {
    super(space, memory, highFirst ? (ranges, granule) => new HighFirstIova(ranges, granule) : undefined);
    this.cache = cache;
    this.looks = looks;
  }
}

/** A function and the slot it is in. */
export interface GroupMember {
  readonly address: string;
  readonly bus: SimulatedBus;
}

/** The type of `SimulatedSource.group`; for `simulate(model, { group })`. */
export class SimulatedGroup {
  readonly #members: GroupMember[] = [];
  #domain: SimulatedDomain | undefined;
  #open = 0;

  /** All functions of the group, open or not. @internal */
  get members(): readonly GroupMember[] {
    return this.#members;
  }

  /** A function is plugged in. @internal */
  add(member: GroupMember): void {
    this.#members.push(member);
  }

  /** @throws DmaError EBUSY a function of the group has this address @internal */
  checkFree(address: string): void {
    if (this.#members.every((member) => member.address !== address)) return;
    throw new DmaError('EBUSY', `the group has a function at ${address}`, {
      remedy: 'give each an address of its own; those of one device differ in the last digit, from 0 to 7',
    });
  }

  /**
   * The functions of the device that has the function at `address`: itself, and those whose addresses differ in the
   * last digit.
   * @internal
   */
  functionsOf(address: string): readonly GroupMember[] {
    return this.#members.filter((member) => deviceOf(member.address) === deviceOf(address));
  }

  /**
   * A function of the group is being opened. Returns the domain that it will be in.
   * @param wanted the domain that the caller of `openPci` asked for
   * @param make makes a domain for the group
   * @throws DmaError EBUSY the group is in another domain · EINVAL that domain is of another world · ENODEV it is
   *   closed
   * @internal
   */
  enter(wanted: IommuDomain | undefined, make: () => SimulatedDomain): SimulatedDomain {
    if (this.#open > 0 && wanted !== undefined && wanted !== this.#domain) {
      throw new DmaError('EBUSY', 'another function of the IOMMU group is open, in another domain', {
        remedy: 'open this one without a domain, or close the other first',
      });
    }
    if (this.#open === 0) this.#domain = checkDomain(wanted) ?? make();
    this.#open++;
    return this.#domain!;
  }

  /** A function of the group was closed, or is gone. @internal */
  leave(): void {
    this.#open--;
  }
}

/** `domain:bus:device` */
function deviceOf(address: string): string {
  return address.slice(0, address.lastIndexOf('.'));
}

function checkDomain(wanted: IommuDomain | undefined): SimulatedDomain | undefined {
  if (wanted === undefined) return undefined;
  if (!(wanted instanceof SimulatedDomain)) {
    throw new DmaError('EINVAL', 'this is no domain of the simulation', {
      remedy: 'pass the domain of a function that is simulated too, behind an IOMMU',
    });
  }
  if (!wanted.closed) return wanted;
  throw new DmaError('ENODEV', 'the IOMMU domain is closed', {
    remedy: 'open this function before the last one in the domain is closed',
  });
}
