/**
 * Faults on order: failures that hardware and systems cause perhaps once a year. Here they come at a chosen moment or
 * at random, and again whenever the seed is the same.
 *
 *      kind                   opportunity                        what happens
 *      'map-limit'            a mapping into the IOMMU           ENOSPC: no mappings left
 *      'map-no-memory'        the same                           ENOMEM: the limit of locked memory
 *      'no-memory'            an allocation of memory            ENOMEM
 *      'no-iova'              a reservation of addresses         there are none
 *      'bounce-full'          an allocation of bounce slots      ENOMEM: the bounce buffer is full
 *      'vector-limit'         arming MSI or MSI-X                ENOSPC: the system granted fewer vectors
 *      'interrupt-lost'       an interrupt of the device         it never arrives
 *      'interrupt-duplicated' the same                           it arrives twice
 *      'interrupt-coalesced'  the same                           it is held back, and others of its vector with it
 *      'interrupt-spurious'   a register write of the driver     an interrupt without a cause follows
 *      'completion-delayed'   something the device starts        it takes longer
 *      'read-all-ones'        a register read of the driver      the answer is lost
 *      'iommu-fault'          an access of the device to memory  it fails, as if nothing were mapped there
 *      'reset-fails'          a reset by the driver              EAGAIN
 *      'device-gone'          a register access, and every       the device is pulled out (SimulatedSource.unplug)
 *                             opportunity above of the device
 *
 * With an injector, the simulation makes its parts of other classes. Without one, no part asks for faults.
 */

import { checkedLater, checkOptions, describe } from '../../arguments.ts';
import { DmaError } from '../../errors.ts';
import { type FaultTiming, Rule } from './rule.ts';

const KINDS = [
  'map-limit',
  'map-no-memory',
  'no-memory',
  'no-iova',
  'bounce-full',
  'interrupt-lost',
  'interrupt-duplicated',
  'interrupt-coalesced',
  'interrupt-spurious',
  'completion-delayed',
  'read-all-ones',
  'iommu-fault',
  'reset-fails',
  'device-gone',
  'vector-limit',
] as const;

/** The faults that can be injected (docs/testing.md). */
export type FaultKind = (typeof KINDS)[number];

/** A fault that was injected. */
export interface Injection {
  readonly kind: FaultKind;
  /** Simulated microseconds since power-up. */
  readonly time: number;
  /** The number of the opportunity, counted by its rule from 1. */
  readonly count: number;
}

/** The number of log entries to keep; older ones are dropped. */
const LOG_LIMIT = 1000;

/** The slot of the device that an injector belongs to. */
export interface InjectedSlot {
  /** Simulated microseconds. */
  readonly clock: { readonly now: number };
  readonly plugged: boolean;
  unplug(): void;
}

/** Options of a FaultInjector. */
export interface FaultInjectorOptions {
  /** A whole number below 2^32. Default: a random one. */
  readonly seed?: number;
}

/** The faults that a simulation injects, by rules, and the log of them. */
export class FaultInjector {
  /** The injector derives all random decisions from this number. */
  readonly seed: number;
  readonly #rules = new Map<FaultKind, Rule[]>();
  readonly #log: Injection[] = [];
  #total = 0;
  #slot: InjectedSlot | undefined;

  /** @throws DmaError EINVAL a seed that is no whole number below 2^32 */
  constructor(options: FaultInjectorOptions = {}) {
    checkOptions<FaultInjectorOptions>(options, 'FaultInjector', { seed: checkedLater });
    const { seed = Math.floor(Math.random() * 2 ** 32) } = options;
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      throw new DmaError('EINVAL', `the seed is ${describe(seed)}`, {
        remedy: 'pass a whole number from 0 to 2^32 - 1',
      });
    }
    this.seed = seed;
  }

  /** The injected faults, the newest thousand, oldest first. */
  get log(): readonly Injection[] {
    return this.#log;
  }

  /** The number of faults that were ever injected. */
  get total(): number {
    return this.#total;
  }

  /**
   * Inject faults of this kind from now on. A second rule of a kind is added to the first. Each rule draws its own
   * random numbers, so a new rule does not change the others.
   * @throws DmaError EINVAL the kind does not exist, or a condition can never be met
   */
  on(kind: FaultKind, when: FaultTiming = {}): this {
    if (!KINDS.includes(kind)) {
      throw new DmaError('EINVAL', `there are no faults of kind ${describe(kind)}`, {
        remedy: `use ${KINDS.join(', ')}`,
      });
    }
    const rules = this.#rules.get(kind) ?? [];
    const own = this.seed + hash(kind) + 0x1000003 * rules.length;
    this.#rules.set(kind, [...rules, new Rule(when, own)]);
    return this;
  }

  /** Stop injecting faults of this kind, or all faults. A device that is gone stays away. */
  off(kind?: FaultKind): this {
    if (kind === undefined) this.#rules.clear();
    else this.#rules.delete(kind);
    return this;
  }

  /** Seed and log, for the message of a failing test. */
  toString(): string {
    const lines = this.#log.map(({ kind, time, count }) => `  ${time} us: ${kind}, opportunity ${count}`);
    return [`seed ${this.seed}, ${this.#total} faults injected`, ...lines].join('\n');
  }

  /**
   * Called by the simulation that gets the injector. @throws DmaError EBUSY another simulation has it already
   * @internal
   */
  join(slot: InjectedSlot): void {
    if (this.#slot !== undefined) {
      throw new DmaError('EBUSY', 'the fault injector belongs to another simulation', {
        remedy: 'give each its own: what one does must not change what happens to the other',
      });
    }
    this.#slot = slot;
  }

  /**
   * An opportunity for a fault of this kind. Returns the conditions of the rule that strikes; undefined if none does.
   * @internal
   */
  strike(kind: FaultKind): FaultTiming | undefined {
    const rules = this.#rules.get(kind);
    if (rules === undefined || this.#slot === undefined) return undefined;
    let struck: Rule | undefined;
    // Every rule counts every opportunity.
    for (const rule of rules) if (rule.strikes()) struck ??= rule;
    if (struck === undefined) return undefined;
    this.#total++;
    if (this.#log.length === LOG_LIMIT) this.#log.shift();
    this.#log.push({ kind, time: this.#slot.clock.now, count: struck.count });
    return struck.when;
  }

  /** True if the device was pulled out. */
  get deviceLeft(): boolean {
    return this.#slot !== undefined && !this.#slot.plugged;
  }

  /** An opportunity for the device to go. @internal */
  touch(): void {
    if (this.#slot?.plugged && this.strike('device-gone') !== undefined) this.#slot.unplug();
  }
}

/** A number that follows from the name alone (FNV-1a): a seed means the same after a kind was added. */
function hash(name: string): number {
  let state = 0x811c9dc5;
  for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193);
  return state;
}
