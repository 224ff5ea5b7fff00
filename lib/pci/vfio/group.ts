/**
 * IOMMU groups that are open in this environment. The node of a group can be opened once on the whole system, and all of
 * its functions see one address space: whoever opens the second function finds the group here, and joins its domain.
 *
 *      domain      container /dev/vfio/vfio
 *        group     /dev/vfio/N, attached         one or more
 *          function                              one or more of each, open once
 */
import { IommuDomain } from '../../dma/operations/domain.ts';
import { DmaError } from '../../errors.ts';
import { Type1AddressSpace } from '../../iommu/type1.ts';
import type { HugePages } from '../../memory/hugepages.ts';
import { MemfdMemory } from '../../memory/memfd.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { VFIO_GROUP_VIABLE } from '../../native/vfio.ts';
import { type FunctionFacts, holders } from '../facts.ts';
import { bridgeRanges } from './bridge-ranges.ts';
import { domainError, type OpenStep, openError } from './diagnose.ts';

/** A domain of functions behind VFIO. */
export class VfioDomain extends IommuDomain {
  declare readonly space: Type1AddressSpace;
  readonly container: Handle;

  constructor(space: Type1AddressSpace, memory: MemfdMemory, container: Handle) {
    super(space, memory);
    this.container = container;
  }
}

/** What whoever opens a function wants of its domain. */
export interface DomainWish {
  readonly domain?: IommuDomain | undefined;
  readonly hugepages: HugePages;
}

const opened = new Map<number, VfioGroup>();

export class VfioGroup {
  readonly domain: VfioDomain;
  readonly #native: Addon;
  readonly #number: number;
  readonly #functions = new Set<string>();

  private constructor(native: Addon, number: number, domain: VfioDomain) {
    this.#native = native;
    this.#number = number;
    this.domain = domain;
  }

  /**
   * The group of a function, in the domain that is wanted or that the group is in already, or else in a new one. The
   * function counts as open from here on, until `release`.
   * @throws DmaError as `openPci`; nothing has changed then
   */
  static enter(native: Addon, facts: FunctionFacts, wish: DomainWish): VfioGroup {
    const number = facts.group!;
    const known = opened.get(number);
    const group = known ?? new VfioGroup(native, number, openGroup(native, facts, wish));
    if (known !== undefined) known.#checkJoin(facts, wish);
    group.#functions.add(facts.address);
    opened.set(number, group);
    return group;
  }

  /** A function of it was closed, or is gone: the device file is closed. */
  release(address: string): void {
    this.#functions.delete(address);
    if (this.#functions.size === 0 && opened.get(this.#number) === this) opened.delete(this.#number);
  }

  /** Let the group go, unless a function of it is open. Its domain closes with the last device in it. */
  close(): void {
    const current = opened.get(this.#number);
    if (this.#functions.size > 0 || current?.domain === this.domain) return;
    this.#native.vfioGroupClose(this.domain.container, this.#number);
    if (this.domain.devices.length === 0) this.domain.close();
  }

  #checkJoin(facts: FunctionFacts, { domain = this.domain, hugepages }: DomainWish): void {
    const { address, group } = facts;
    if (this.#functions.has(address)) {
      throw new DmaError('EBUSY', `${address} is open already, in this program`, {
        remedy: 'close it first',
      });
    }
    if (domain !== this.domain || domain.closed) {
      throw new DmaError('EBUSY', `${address}: its IOMMU group ${group} is open, in another domain`, {
        remedy: 'open it without a domain, or close the other functions of the group first',
      });
    }
    checkMemory(address, this.domain, hugepages);
  }
}

/** The group, in the wanted domain or a new one. */
function openGroup(native: Addon, facts: FunctionFacts, { domain, hugepages }: DomainWish): VfioDomain {
  if (domain === undefined) return newDomain(native, facts, hugepages);
  const { address } = facts;
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
  const { container, space } = domain;
  attach(native, facts, container, (errno) => domainError(facts, errno));
  if (space.unchanged) return domain;
  native.vfioGroupClose(container, facts.group!);
  throw domainError(facts, EINVAL);
}

function newDomain(native: Addon, facts: FunctionFacts, hugepages: HugePages): VfioDomain {
  const container = step(facts, 'open /dev/vfio/vfio', native.vfioContainerOpen());
  let memory: MemfdMemory | undefined;
  try {
    attach(native, facts, container, (errno) => openError(facts, 'VFIO_GROUP_SET_CONTAINER', errno, []));
    step(facts, 'VFIO_SET_IOMMU', native.vfioSetIommu(container));
    memory = new MemfdMemory({ hugepages });
    return new VfioDomain(new Type1AddressSpace(native, container, bridgeRanges()), memory, container);
  } catch (error) {
    memory?.close();
    native.vfioContainerClose(container);
    throw error;
  }
}

/** Opens the node of the function's group, for the container. */
function attach(
  native: Addon,
  facts: FunctionFacts,
  container: Handle,
  refusal: (errno: number) => DmaError,
): void {
  const group = facts.group!;
  step(facts, 'open /dev/vfio/N', native.vfioGroupOpen(container, group));
  try {
    const status = step(facts, 'VFIO_GROUP_GET_STATUS', native.vfioGroupStatus(container, group));
    if ((status & VFIO_GROUP_VIABLE) === 0) throw openError(facts, 'VFIO_GROUP_GET_STATUS', EPERM, []);
    const result = native.vfioGroupAttach(container, group);
    if (result < 0) throw refusal(result);
  } catch (error) {
    native.vfioGroupClose(container, group);
    throw error;
  }
}

function checkMemory(address: string, { memory }: VfioDomain, hugepages: HugePages): void {
  if (hugepages === false || hugepages === 'prefer' || memory.name === 'hugetlb') return;
  throw new DmaError('EINVAL', `${address}: the memory of the domain is not of huge pages`, {
    remedy: 'ask for them where the first function of the domain is opened',
  });
}

/** @throws DmaError of that step, when its result is negative */
export function step(facts: FunctionFacts, what: OpenStep, result: number): number {
  if (result >= 0) return result;
  throw openError(facts, what, result, result === EBUSY ? holders(`/dev/vfio/${facts.group}`) : []);
}

/** As the native functions return them. EPERM is what attaching a group that is not viable would give. */
const EPERM = -1;
const EBUSY = -16;
const EINVAL = -22;
