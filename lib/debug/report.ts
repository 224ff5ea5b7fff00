/** A report. It copies facts when it is made, because records are reused. It formats stacks only on demand. */

import { type DmaDirection, directionOf } from '../direction.ts';
import type { DmaReport, EntryType, ReportKind } from '../dma/debug-view.ts';
import type { Fault } from '../iommu/fault.ts';
import type { Entry } from './entry.ts';
import type { Makers } from './makers.ts';
import { captureMistake, describeSite, type Site } from './sites.ts';

/** A mistake. The entry supplies the facts that the mistake does not state. */
export interface Mistake {
  readonly kind: ReportKind;
  /** For people, with the remedy. */
  readonly message: string;
  /** The mapping or allocation concerned. */
  readonly entry?: Entry | undefined;
  readonly address?: number | bigint | undefined;
  readonly size?: number | undefined;
  readonly bits?: number | undefined;
  readonly type?: EntryType | undefined;
  /**
   * The call site. 'now': the present call of the driver. Undefined: the device made the mistake, in its own time.
   */
  readonly mistakeAt?: Site | 'now' | undefined;
  readonly fault?: Fault | undefined;
}

/** One report. Its texts are made when they are first read. */
export class Report implements DmaReport {
  readonly kind: ReportKind;
  readonly device: string;
  readonly message: string;
  readonly address: bigint | undefined;
  readonly size: number | undefined;
  readonly direction: DmaDirection | undefined;
  readonly type: EntryType | undefined;
  readonly fault: Fault | undefined;

  readonly #birth: Site | undefined;
  readonly #death: Site | undefined;
  readonly #mistake: Site | undefined;
  /** The call sites that make mappings of this kind, if the site of this mapping was not kept. */
  readonly #makers: (() => string | undefined) | undefined;

  constructor(device: string, mistake: Mistake, makers: Makers) {
    const { kind, message, entry, fault, mistakeAt } = mistake;
    const address = mistake.address ?? entry?.address;
    const bits = mistake.bits ?? entry?.bits;
    this.kind = kind;
    this.device = device;
    this.message = message;
    this.address = address === undefined ? undefined : BigInt(address);
    this.size = mistake.size ?? entry?.size;
    this.direction = bits === undefined ? undefined : directionOf(bits);
    this.type = mistake.type ?? entry?.type;
    this.fault = fault;
    this.#birth = entry?.birth;
    this.#death = entry?.live === false ? entry.death : undefined;
    this.#mistake = mistakeAt === 'now' ? captureMistake() : mistakeAt;
    if (entry === undefined || entry.birth !== undefined) return;
    const { type, size, bits: both } = entry;
    this.#makers = () => makers.describe({ type, size, bits: both });
  }

  get mappedAt(): string | undefined {
    return this.#birth === undefined ? this.#makers?.() : describeSite(this.#birth);
  }

  get releasedAt(): string | undefined {
    return describeSite(this.#death);
  }

  get mistakeAt(): string | undefined {
    return describeSite(this.#mistake);
  }
}
