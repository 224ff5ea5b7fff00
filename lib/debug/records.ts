/** The records of mappings in the ledger: those of lib/dma, with the fields of dma-debug. */
import type { EntryType } from '../dma/debug-view.ts';
import { SgRecord } from '../dma/sg/mapping.ts';
import { MAPPED, MappingRecord } from '../dma/streaming/mapping.ts';
import type { Entry } from './entry.ts';
import type { KeptBytes } from './kept-bytes.ts';
import type { LentBytes } from './lent-bytes.ts';
import type { Site } from './sites.ts';

/** The views of a list that is not mapped. */
export const NO_VIEWS: readonly ArrayBufferView[] = [];

/** A streaming mapping's record with the fields that dma-debug needs. */
export class DebugRecord extends MappingRecord implements Entry {
  type: EntryType = 'single';
  /** The caller's view, while it is mapped. */
  view: ArrayBufferView | undefined = undefined;
  birth: Site | undefined = undefined;
  death: Site | undefined = undefined;
  serial = 0;
  /** Whether the ledger counts it. */
  entered = false;
  /** Where its bytes and its cache lines are among those of others (overlaps.ts); -1 when they are not. */
  place = -1;
  linePlace = -1;
  /**
   * The state of its bytes that a watch keeps, in a simulation and on hardware; undefined when they are not watched.
   */
  lent: LentBytes | undefined = undefined;
  kept: KeptBytes | undefined = undefined;

  get live(): boolean {
    return this.state === MAPPED;
  }
}

/** A mapped list's record with the fields that dma-debug needs. */
export class DebugSgRecord extends SgRecord implements Entry {
  readonly type = 'scatter-gather';
  /** The caller's views, while it is mapped. */
  views: readonly ArrayBufferView[] = NO_VIEWS;
  birth: Site | undefined = undefined;
  death: Site | undefined = undefined;
  serial = 0;
  entered = false;
  readonly places: number[] = [];
  readonly linePlaces: number[] = [];
  /** The state of the bytes of its elements, in a simulation. */
  readonly lent: LentBytes[] = [];

  /** Of the first segment, also of a list that is over. */
  get address(): number {
    return this.segments.addresses[0]!;
  }

  get live(): boolean {
    return this.state === MAPPED;
  }
}
