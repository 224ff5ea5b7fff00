/** Call sites by kind of mapping: a report names them for a mapping whose own site was not kept. */
import { directionOf } from '../direction.ts';
import type { Entry } from './entry.ts';
import { describeSite, type Site } from './sites.ts';

/** The number of kinds to distinguish, and the number of sites to keep for each. */
const KINDS = 256;
const SITES = 4;

type Kind = Pick<Entry, 'type' | 'bits' | 'size'>;

/** The call sites that lately made mappings and allocations of each kind. */
export class Makers {
  private readonly sites = new Map<string, Site[]>();

  note(kind: Kind, site: Site): void {
    const key = keyOf(kind);
    const sites = this.sites.get(key);
    if (sites === undefined) {
      if (this.sites.size < KINDS) this.sites.set(key, [site]);
      return;
    }
    if (sites.length === SITES) sites.shift();
    sites.push(site);
  }

  /** Some stacks that lately made entries of this kind, each once; undefined if there are none. */
  describe(kind: Kind): string | undefined {
    const stacks = new Set((this.sites.get(keyOf(kind)) ?? []).map(describeSite));
    stacks.delete(undefined);
    if (stacks.size === 0) return undefined;
    const what = `not kept; things of ${kind.size} bytes, ${directionOf(kind.bits)}, were made here lately:`;
    return [what, ...stacks].join('\n');
  }
}

function keyOf({ type, bits, size }: Kind): string {
  return `${type} ${bits} ${size}`;
}
