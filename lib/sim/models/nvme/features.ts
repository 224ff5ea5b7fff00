/** Set Features and Get Features (NVM Express 1.4, 5.14, 5.21). None can be saved. */
import type { Command } from './command.ts';
import { type AsynchronousEvents, EVENT } from './events.ts';
import { STATUS } from './status.ts';

export const ALL_NAMESPACES = 0xffff_ffff;

const FEATURE = {
  arbitration: 0x01,
  powerManagement: 0x02,
  temperatureThreshold: 0x04,
  errorRecovery: 0x05,
  volatileWriteCache: 0x06,
  numberOfQueues: 0x07,
  interruptCoalescing: 0x08,
  interruptVector: 0x09,
  writeAtomicity: 0x0a,
  eventConfiguration: 0x0b,
  commandSetProfile: 0x19,
} as const;

const OF_NAMESPACE = 2;
const CHANGEABLE = 4;

/** The supported features, and what a driver can do with each, as Get Features returns for their capabilities. */
const CAPABILITIES: Readonly<Record<number, number>> = {
  [FEATURE.arbitration]: 0,
  [FEATURE.powerManagement]: 0,
  [FEATURE.temperatureThreshold]: CHANGEABLE,
  [FEATURE.errorRecovery]: CHANGEABLE | OF_NAMESPACE,
  [FEATURE.volatileWriteCache]: CHANGEABLE,
  [FEATURE.numberOfQueues]: CHANGEABLE,
  [FEATURE.interruptCoalescing]: 0,
  [FEATURE.interruptVector]: 0,
  [FEATURE.writeAtomicity]: 0,
  [FEATURE.eventConfiguration]: CHANGEABLE,
  [FEATURE.commandSetProfile]: CHANGEABLE,
};

const SELECT_CURRENT = 0;
const SELECT_CAPABILITIES = 3;
const UNLIMITED_BURST = 7;
const NO_COALESCING = 1 << 16;
const SMART_TEMPERATURE = 2;
const TEMPERATURE_EVENT = 1;
const SMART_PAGE = 2;

/** Kelvin. */
export const TEMPERATURE = { now: 0x143, warning: 0x157, critical: 0x175 } as const;

export interface FeaturesOptions {
  readonly ioQueues: number;
  readonly namespaces: number;
  /** The highest valid identifier. A namespace with that identifier need not exist. */
  readonly highestNsid: number;
  readonly events: AsynchronousEvents;
  /** True if I/O queues exist. */
  readonly queuesCreated: () => boolean;
}

/** The features of the controller. */
export class Features {
  readonly #options: FeaturesOptions;
  #over: number = TEMPERATURE.warning;
  #under = 0;
  #writeCache = 1;
  #eventConfiguration = 0;

  constructor(options: FeaturesOptions) {
    this.#options = options;
  }

  reset(): void {
    this.#over = TEMPERATURE.warning;
    this.#under = 0;
    this.#writeCache = 1;
    this.#eventConfiguration = 0;
  }

  /** True if the temperature is too high or too low. */
  get temperatureWarning(): boolean {
    return TEMPERATURE.now >= this.#over || TEMPERATURE.now <= this.#under;
  }

  get(command: Command): number {
    const feature = command.cdw10 & 0xff;
    const select = (command.cdw10 >>> 8) & 7;
    const capabilities = CAPABILITIES[feature];
    if (capabilities === undefined) return STATUS.invalidField;
    if ((capabilities & OF_NAMESPACE) !== 0) {
      const refusal = this.#checkNamespace(command.nsid);
      if (refusal !== STATUS.success) return refusal;
    }
    if (select === SELECT_CAPABILITIES) command.result = capabilities;
    else return this.#value(command, feature, select === SELECT_CURRENT);
    return STATUS.success;
  }

  #value(command: Command, feature: number, current: boolean): number {
    const { ioQueues } = this.#options;
    switch (feature) {
      case FEATURE.arbitration:
        command.result = UNLIMITED_BURST;
        break;
      case FEATURE.temperatureThreshold: {
        const { sensor, under, valid } = threshold(command.cdw11);
        if (current && sensor === 0 && !valid) return STATUS.invalidField;
        if (sensor === 0 && under) command.result = current ? this.#under : 0;
        else if (sensor === 0 && valid) command.result = current ? this.#over : TEMPERATURE.warning;
        break;
      }
      case FEATURE.volatileWriteCache:
        command.result = current ? this.#writeCache : 0;
        break;
      case FEATURE.numberOfQueues:
        command.result = (ioQueues - 1) * 0x1_0001;
        break;
      case FEATURE.interruptVector: {
        const vector = command.cdw11 & 0xffff;
        if (vector > ioQueues) return STATUS.invalidField;
        command.result = vector === 0 ? NO_COALESCING : vector;
        break;
      }
      case FEATURE.eventConfiguration:
        command.result = current ? this.#eventConfiguration : 0;
        break;
    }
    return STATUS.success;
  }

  set(command: Command): number {
    const { cdw10, cdw11, nsid } = command;
    const feature = cdw10 & 0xff;
    if (cdw10 >>> 31 !== 0) return STATUS.featureNotSaveable;
    const capabilities = CAPABILITIES[feature];
    if (capabilities === undefined) return STATUS.invalidField;
    const everywhere = nsid === ALL_NAMESPACES;
    if ((capabilities & OF_NAMESPACE) !== 0) {
      const refusal = everywhere ? STATUS.success : this.#checkNamespace(nsid);
      if (refusal !== STATUS.success) return refusal;
    } else if (nsid !== 0 && !everywhere) {
      return nsid > this.#options.highestNsid ? STATUS.invalidNamespace : STATUS.featureNotOfNamespace;
    }
    if ((capabilities & CHANGEABLE) === 0) return STATUS.featureNotChangeable;
    switch (feature) {
      case FEATURE.temperatureThreshold:
        return this.#setThreshold(cdw11);
      case FEATURE.volatileWriteCache:
        this.#writeCache = cdw11 & 1;
        break;
      case FEATURE.numberOfQueues:
        return this.#setNumberOfQueues(command);
      case FEATURE.eventConfiguration:
        this.#eventConfiguration = cdw11;
        break;
      case FEATURE.commandSetProfile:
        if ((cdw11 & 0x1ff) !== 0) return STATUS.commandSetRejected;
        break;
    }
    return STATUS.success;
  }

  /** The controller grants all its queues, whatever number the driver asks for. */
  #setNumberOfQueues(command: Command): number {
    if (this.#options.queuesCreated()) return STATUS.commandSequence;
    const { cdw11 } = command;
    if ((cdw11 & 0xffff) === 0xffff || cdw11 >>> 16 === 0xffff) return STATUS.invalidField;
    command.result = (this.#options.ioQueues - 1) * 0x1_0001;
    return STATUS.success;
  }

  #setThreshold(cdw11: number): number {
    const { sensor, under, valid } = threshold(cdw11);
    if (sensor !== 0) return STATUS.success;
    if (!valid) return STATUS.invalidField;
    if (under) this.#under = cdw11 & 0xffff;
    else this.#over = cdw11 & 0xffff;
    if (this.temperatureWarning && (this.#eventConfiguration & SMART_TEMPERATURE) !== 0) {
      this.#options.events.tell(EVENT.smart, TEMPERATURE_EVENT, SMART_PAGE);
    }
    return STATUS.success;
  }

  #checkNamespace(nsid: number): number {
    const { highestNsid, namespaces } = this.#options;
    if (nsid === 0 || nsid > highestNsid) return STATUS.invalidNamespace;
    return nsid > namespaces ? STATUS.invalidField : STATUS.success;
  }
}

function threshold(cdw11: number): { sensor: number; under: boolean; valid: boolean } {
  const type = (cdw11 >>> 20) & 3;
  return { sensor: (cdw11 >>> 16) & 0xf, under: type === 1, valid: type < 2 };
}
