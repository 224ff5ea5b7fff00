/** DMA that failed, as a simulated IOMMU and bus report it, or as the kernel's log reports it for real hardware. */
import { argumentError, checkText, checkWhole } from '../arguments.ts';

/** An access of a device that was refused. */
export interface Fault {
  /** The first address that failed, as the device put it on the bus. */
  readonly address: bigint;
  /** The number of bytes that failed; 0 if the fault is not about bytes. */
  readonly size: number;
  /** The kind of access. A read got zeros, a write was dropped. 'unknown': some hardware does not report the kind. */
  readonly access: 'read' | 'write' | 'unknown';
  /** One of `FAULT`, or the text of a device model or of the kernel. */
  readonly reason: string;
  /** The activity of a simulated device, if its model describes it: which command, which descriptor. */
  readonly about?: string;
}

/** Reasons of the simulated hardware itself. */
export const FAULT = {
  notMapped: 'not mapped',
  noMemory: 'no memory there',
  noRead: 'no read permission',
  noWrite: 'no write permission',
  pastEnd: 'past the end of the buffer',
  detached: 'buffer detached',
  noAnswer: 'the function does not answer',
  noMaster: 'bus mastering is off',
  asleep: 'the function is not in power state D0',
} as const;

/** The newest faults of one device, oldest first. */
export class FaultLog {
  readonly #faults: Fault[] = [];
  readonly #limit: number;
  readonly #onFault: (fault: Fault) => void;
  #total = 0;
  /** Returns the device's activity in words. Called at each fault. */
  about: () => string | undefined = () => undefined;

  /** @param limit the number of faults to keep; older ones are dropped */
  constructor({
    limit = 1000,
    onFault = () => {},
  }: { limit?: number; onFault?: (fault: Fault) => void } = {}) {
    this.#limit = limit;
    this.#onFault = onFault;
  }

  get list(): readonly Fault[] {
    return this.#faults;
  }

  /** The number of faults that were ever recorded. */
  get total(): number {
    return this.#total;
  }

  record(fault: Fault): void {
    const about = this.about();
    const known = describable(about === undefined ? fault : { ...fault, about });
    this.#total++;
    if (this.#faults.length === this.#limit) this.#faults.shift();
    this.#faults.push(known);
    this.#onFault(known);
  }
}

/** The fault, changed only so that `describeFault` can make its text. */
function describable(fault: Fault): Fault {
  return Object.defineProperty(fault, 'toString', { value: () => describeFault(fault), enumerable: false });
}

/** One line for people, e.g. `DMA write of 64 bytes at 0x1000: not mapped`, and the activity of the device. */
export function describeFault(fault: Fault): string {
  const { address, size, access, reason, about } = fault ?? {};
  if (typeof address !== 'bigint')
    throw argumentError('the fault', fault, 'pass one of SimulatedSource.faults');
  checkWhole(size, 'size of the fault', 0, Number.MAX_SAFE_INTEGER);
  checkText(access, 'access of the fault');
  checkText(reason, 'reason of the fault');
  const extent = size === 0 ? '' : ` of ${size} bytes`;
  const what = `DMA ${access}${extent} at 0x${address.toString(16)}: ${reason}`;
  return about === undefined ? what : `${what} (${about})`;
}
