/** The records of mappings in the ledger: those of lib/dma, with the fields of dma-debug. */
import type { EntryType } from '../dma/debug-view.ts';
import { SgRecord } from '../dma/sg/mapping.ts';
import { MappingRecord } from '../dma/streaming/mapping.ts';
import { MAPPED } from '../dma/streaming/record-table.ts';
import type { Entry } from './entry.ts';
import type { KeptBytes } from './kept-bytes.ts';
import type { LentBytes } from './lent-bytes.ts';
import type { Sharer } from './shared-bytes.ts';
import type { Site } from './sites.ts';

/** The value of `views` while no list is mapped. */
export const NO_VIEWS: readonly ArrayBufferView[] = [];

/** A streaming mapping's record with the fields that dma-debug needs. */
export class DebugRecord extends MappingRecord implements Entry, Sharer {
  type: EntryType = 'single';
  /** The caller's view, while it is mapped. */
  view: ArrayBufferView | undefined = undefined;
  birth: Site | undefined = undefined;
  death: Site | undefined = undefined;
  serial = 0;
  /** True if the ledger counts it. */
  entered = false;
  /**
   * The numbers of its bytes and its cache lines in the index of overlaps (overlaps.ts); -1 if they are not in it.
   */
  place = -1;
  linePlace = -1;
  /**
   * The state of its bytes, which a watch keeps, in a simulation or on hardware; undefined if they are not watched.
   */
  lent: LentBytes | undefined = undefined;
  kept: KeptBytes | undefined = undefined;
  /** Where its bytes are among those of all mappings of the process that are watched on hardware (shared-bytes.ts). */
  firstByte = -1;
  sharePlace = -1;

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

  /** The address of the first segment, also after the list ended. */
  get address(): number {
    return this.segments.addresses[0]!;
  }

  get live(): boolean {
    return this.state === MAPPED;
  }
}
