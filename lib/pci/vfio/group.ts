/**
 * The IOMMU groups that are open in this environment. The IOMMU cannot tell the functions of a group apart, so
 * all of them see one address space: the second function of a group finds the group here, and joins its domain.
 */
import { DmaError } from '../../errors.ts';
import type { Handle } from '../../native/addon.ts';
import type { FunctionFacts } from '../facts.ts';
import { checkWanted, checkWish, type DomainWish, type Target, type VfioDomain } from './domain.ts';

const opened = new Map<number, VfioGroup>();

/** An opened VFIO group. */
export class VfioGroup {
  /** An IOMMU translates the addresses of its devices. */
  readonly translates: boolean = true;
  readonly domain: VfioDomain;
  readonly #number: number;
  readonly #functions = new Set<string>();

  private constructor(number: number, domain: VfioDomain) {
    this.#number = number;
    this.domain = domain;
  }

  /**
   * Opens a function. Its domain is the one of its group, if the group is open already; else the wanted domain;
   * else a new one. The function counts as open from then on, until `release`.
   * @returns its group, and the device; the caller owns the device
   * @throws DmaError as `openPci`; nothing has changed then
   */
  static enter(
    target: Target,
    wish: DomainWish,
    makeDomain: () => VfioDomain,
  ): { group: VfioGroup; device: Handle } {
    const { facts } = target;
    const number = facts.group!;
    const known = opened.get(number);
    if (known !== undefined) known.#checkJoin(facts, wish);
    const group = known ?? new VfioGroup(number, domainFor(facts, wish, makeDomain));
    group.#functions.add(facts.address);
    opened.set(number, group);
    try {
      return { group, device: group.domain.openDevice(target) };
    } catch (error) {
      group.release(facts.address);
      group.close();
      throw error;
    }
  }

  /** A function of the group was closed or is gone: its device file is closed. */
  release(address: string): void {
    this.#functions.delete(address);
    if (this.#functions.size === 0 && opened.get(this.#number) === this) opened.delete(this.#number);
  }

  /** Leaves the group, unless a function of it is open. The domain closes with its last device. */
  close(): void {
    const current = opened.get(this.#number);
    if (this.#functions.size > 0 || current?.domain === this.domain) return;
    this.domain.leaveGroup(this.#number);
    if (this.domain.devices.length === 0) this.domain.close();
  }

  /** As `VfioDomain.elsewhere`. */
  elsewhere(id: number): string | undefined {
    return this.domain.elsewhere(id);
  }

  #checkJoin(facts: FunctionFacts, wish: DomainWish): void {
    const { domain = this.domain } = wish;
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
    checkWish(address, this.domain, wish);
  }
}

function domainFor({ address }: FunctionFacts, wish: DomainWish, makeDomain: () => VfioDomain): VfioDomain {
  return wish.domain === undefined ? makeDomain() : checkWanted(address, wish.domain, wish);
}
