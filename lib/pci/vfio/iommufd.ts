/**
 * A domain as an I/O address space of iommufd. Its functions are opened by their own nodes, without their groups. The
 * kernel still demands that all functions of a group are bound to the same iommufd.
 *
 *      /dev/iommu                    one for this environment
 *        domain    IOAS
 *          device  /dev/vfio/devices/vfioN, bound to the iommufd, attached to the IOAS
 *
 * The kernel knows the valid addresses only after a device is attached. So a domain is made with its first device.
 */
import { openNode } from '../../device-node.ts';
import type { DmaError } from '../../errors.ts';
import { IommufdAddressSpace } from '../../iommu/iommufd.ts';
import { MemfdMemory, type MemfdMemoryOptions } from '../../memory/memfd.ts';
import type { Addon, Handle } from '../../native/addon.ts';
import { NOT_ATTACHED } from '../../native/iommufd.ts';
import type { FunctionFacts } from '../facts.ts';
import { bridgeRanges } from './bridge-ranges.ts';
import { domainError } from './diagnose.ts';
import { bindError, contextError, noIommufd, noNode } from './diagnose-iommufd.ts';
import { type Target, VfioDomain } from './domain.ts';
import { tokenBytes, tokenError } from './vf-token.ts';

/**
 * A function to be opened, and the iommufd that the caller passed in, if any. The caller keeps owning that
 * iommufd.
 */
export interface IommufdTarget extends Target {
  readonly iommufd?: number | undefined;
}

/** A domain whose address space is an IOAS: functions of different groups, opened one by one. */
export class IommufdDomain extends VfioDomain {
  readonly interface = 'iommufd';
  declare readonly space: IommufdAddressSpace;
  readonly #native: Addon;
  readonly #ioas: Handle;
  /** The device that the domain was made with, until `openDevice` returns it. */
  #first: Handle | undefined;

  private constructor(
    native: Addon,
    ioas: Handle,
    first: Handle,
    space: IommufdAddressSpace,
    memory: MemfdMemory,
  ) {
    super(space, memory);
    this.#native = native;
    this.#ioas = ioas;
    this.#first = first;
  }

  /**
   * A new address space that the device of a function sees. @throws DmaError as `openPci`; nothing stays open
   * then
   */
  static create(native: Addon, target: IommufdTarget, options: MemfdMemoryOptions): IommufdDomain {
    const ioas = native.ioasCreate(target.iommufd ?? -1);
    if (ioas < 0) throw contextError(target.facts, ioas, target.iommufd !== undefined);
    let device: Handle | undefined;
    let memory: MemfdMemory | undefined;
    try {
      device = openDevice(native, ioas, target, (errno) => bindError(target.facts, errno, 'attach'));
      memory = new MemfdMemory(options);
      const space = new IommufdAddressSpace(native, ioas, native.pageSize(), bridgeRanges());
      return new IommufdDomain(native, ioas, device, space, memory);
    } catch (error) {
      memory?.close();
      if (device !== undefined) native.vfioDeviceClose(device);
      native.ioasClose(ioas);
      throw error;
    }
  }

  openDevice(target: Target): Handle {
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) return first;
    const { facts } = target;
    const device = openDevice(this.#native, this.#ioas, target, (errno) => domainError(facts, errno));
    if (this.space.unchanged) return device;
    this.#native.vfioDeviceClose(device);
    throw domainError(facts, EINVAL);
  }

  /** A group has nothing to leave here: only its open devices hold it. */
  leaveGroup(): void {}

  /** @param id 0 or more if the function is bound to the same iommufd, or shares a group with one that is */
  elsewhere(id: number): string | undefined {
    return id >= 0 ? undefined : 'not open in this program';
  }
}

/** @param refusal the error of attaching the device */
function openDevice(
  native: Addon,
  ioas: Handle,
  { facts, descriptor, vfToken }: Target,
  refusal: (errno: number) => DmaError,
): Handle {
  const token = vfToken === undefined ? undefined : tokenBytes(vfToken);
  const device = native.ioasDeviceOpen(ioas, descriptor ?? openFunctionNode(facts), token);
  if (device >= 0) return device;
  const refused = tokenError(facts, device, vfToken, 'VFIO_DEVICE_BIND_IOMMUFD');
  if (refused !== undefined) throw refused;
  throw device <= -NOT_ATTACHED ? refusal(device + NOT_ATTACHED) : bindError(facts, device, 'bind');
}

function openFunctionNode(facts: FunctionFacts): number {
  const { node } = facts;
  if (!facts.iommufd) throw noIommufd();
  if (node === undefined) throw noNode(facts);
  const absent = `in a container, pass --device=${node} --device=/dev/iommu`;
  return openNode({ path: node, absent, rule: 'SUBSYSTEM=="vfio-dev"' });
}

/** As the native functions return it. */
const EINVAL = -22;
