/**
 * A domain as a VFIO container: the type1 IOMMU driver behind /dev/vfio/vfio, and the groups attached to it. On the
 * whole system only one opener can have the node of a group.
 *
 *      domain      container /dev/vfio/vfio
 *        group     /dev/vfio/N, attached         one or more
 *          device  VFIO_GROUP_GET_DEVICE_FD      one or more of each
 */
import { DmaError } from '../../errors.ts';
import { Type1AddressSpace } from '../../iommu/type1.ts';
import { MemfdMemory, type MemfdMemoryOptions } from '../../memory/memfd.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { VFIO_GROUP_VIABLE, VFIO_IOMMU } from '../../native/vfio.ts';
import { type FunctionFacts, holders } from '../facts.ts';
import { bridgeRanges } from './bridge-ranges.ts';
import { domainError, type OpenStep, openError } from './diagnose.ts';
import { type Target, VfioDomain } from './domain.ts';
import { tokenError } from './vf-token.ts';

/** The native functions return this for a function that is not in the group. */
const ENODEV = -19;

/** A domain of VFIO: a container, and the groups in it. */
export class ContainerDomain extends VfioDomain {
  readonly interface = 'container';
  declare readonly space: Type1AddressSpace;
  readonly #native: Addon;
  readonly #container: Handle;
  readonly #groups: Set<number>;

  private constructor(
    native: Addon,
    container: Handle,
    group: number,
    space: Type1AddressSpace,
    memory: MemfdMemory,
  ) {
    super(space, memory);
    this.#native = native;
    this.#container = container;
    this.#groups = new Set([group]);
  }

  /**
   * Makes a new container and attaches the group of a function. @throws DmaError as `openPci`; nothing stays open
   * then
   */
  static create(native: Addon, facts: FunctionFacts, options: MemfdMemoryOptions): ContainerDomain {
    const container = step(facts, 'open /dev/vfio/vfio', native.vfioContainerOpen(VFIO_IOMMU.type1));
    let memory: MemfdMemory | undefined;
    try {
      attach(native, facts, container, (errno) => openError(facts, 'VFIO_GROUP_SET_CONTAINER', errno, []));
      step(facts, 'VFIO_SET_IOMMU', native.vfioSetIommu(container));
      memory = new MemfdMemory(options);
      const space = new Type1AddressSpace(native, container, bridgeRanges());
      return new ContainerDomain(native, container, facts.group!, space, memory);
    } catch (error) {
      memory?.close();
      native.vfioContainerClose(container);
      throw error;
    }
  }

  openDevice({ facts, descriptor, vfToken }: Target): Handle {
    if (descriptor !== undefined) throw noDescriptor(facts);
    const group = facts.group!;
    const name = vfToken === undefined ? facts.address : `${facts.address} vf_token=${vfToken}`;
    const isNew = !this.#groups.has(group);
    if (isNew) this.#addGroup(facts);
    try {
      let opened = this.#native.vfioDeviceOpen(this.#container, group, name);
      if (opened === ENODEV && !isNew) {
        // The function was plugged in again: the kernel has made a new group with the old number.
        this.leaveGroup(group);
        this.#addGroup(facts);
        opened = this.#native.vfioDeviceOpen(this.#container, group, name);
      }
      const refused = tokenError(facts, opened, vfToken, 'VFIO_GROUP_GET_DEVICE_FD');
      if (refused !== undefined) throw refused;
      return step(facts, 'VFIO_GROUP_GET_DEVICE_FD', opened);
    } catch (error) {
      if (isNew) this.leaveGroup(group);
      throw error;
    }
  }

  leaveGroup(group: number): void {
    if (this.#groups.delete(group)) this.#native.vfioGroupClose(this.#container, group);
  }

  /** @param id number of the function's IOMMU group */
  elsewhere(id: number): string | undefined {
    return this.#native.vfioGroupHeld(id) === 1 ? undefined : `IOMMU group ${id}`;
  }

  #addGroup(facts: FunctionFacts): void {
    attach(this.#native, facts, this.#container, (errno) => domainError(facts, errno));
    this.#groups.add(facts.group!);
    if (this.space.unchanged) return;
    this.leaveGroup(facts.group!);
    throw domainError(facts, EINVAL);
  }
}

function noDescriptor({ address }: FunctionFacts): DmaError {
  return new DmaError('EINVAL', `${address}: a descriptor cannot join a domain of VFIO's container`, {
    remedy: 'open the first function of the domain with iommu: "iommufd", or this one by its address',
  });
}

/** Opens the node of the function's group and attaches it to the container. */
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

/** @throws DmaError of that step, if its result is negative */
function step(facts: FunctionFacts, what: OpenStep, result: number): number {
  if (result >= 0) return result;
  throw openError(facts, what, result, result === EBUSY ? holders(`/dev/vfio/${facts.group}`) : []);
}

/** As the native functions return it. Attaching a group that is not viable fails with EPERM. */
const EPERM = -1;
const EBUSY = -16;
const EINVAL = -22;
