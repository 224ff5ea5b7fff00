/** docs/dma-api.md promises names; here they are looked up. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CoherentBuffer } from '../../lib/dma/coherent.ts';
import { IovaState } from '../../lib/dma/iova-state.ts';
import { DmaLimits } from '../../lib/dma/limits.ts';
import { StreamingMapping } from '../../lib/dma/mapping.ts';
import { NoncoherentBuffer } from '../../lib/dma/noncoherent.ts';
import { DmaPool } from '../../lib/dma/pool.ts';
import { SgMapping } from '../../lib/dma/sg-mapping.ts';
import * as userdma from '../../lib/index.ts';

const classes: Record<string, { prototype: object }> = {
  CoherentBuffer,
  DmaDevice: userdma.DmaDevice,
  DmaLimits,
  DmaPool,
  IovaState,
  NoncoherentBuffer,
  SgMapping,
  StreamingMapping,
};

/** The functions of DMA-API.txt, dma-api.rst and dma-api-howto.rst that a driver calls. */
const KERNEL = [
  ...[
    'alloc_coherent',
    'free_coherent',
    'zalloc_coherent',
    'alloc_attrs',
    'free_attrs',
    'alloc_wc',
    'mmap_coherent',
  ],
  ...['pool_create', 'pool_alloc', 'pool_zalloc', 'pool_free', 'pool_destroy'],
  ...['supported', 'set_mask', 'set_coherent_mask', 'set_mask_and_coherent', 'get_required_mask', 'get_mask'],
  ...['max_mapping_size', 'opt_mapping_size', 'need_sync', 'get_merge_boundary', 'addressing_limited'],
  ...[
    'map_single',
    'unmap_single',
    'map_page',
    'unmap_page',
    'map_resource',
    'unmap_resource',
    'mapping_error',
  ],
  ...[
    'map_sg',
    'unmap_sg',
    'map_sgtable',
    'sync_single_for_cpu',
    'sync_single_for_device',
    'sync_sg_for_cpu',
  ],
  ...[
    'sync_sg_for_device',
    'iova_try_alloc',
    'iova_link',
    'iova_sync',
    'iova_unlink',
    'iova_free',
    'iova_destroy',
  ],
  ...[
    'alloc_noncoherent',
    'free_noncoherent',
    'cache_sync',
    'get_cache_alignment',
    'alloc_pages',
    'get_sgtable',
  ],
  ...['alloc_noncontiguous', 'declare_coherent_memory'],
].map((name) => `dma_${name}`);

const text = readFileSync(new URL('../../docs/dma-api.md', import.meta.url), 'utf8');
const rows = text
  .split('\n')
  .filter((line) => /^\| `[A-Za-z_]+`/.test(line))
  .map((line) => line.split('|').map((cell) => cell.trim()));

describe('docs/dma-api.md', () => {
  it('has rows', () => expect(rows.length).toBeGreaterThan(40));

  for (const [, kernel, ours] of rows) {
    if (ours === '-') continue;
    it(`${kernel} is ${ours}`, () => {
      const [owner, member] = ours!.replaceAll('`', '').split('.');
      if (member === undefined) expect(userdma).toHaveProperty(owner!);
      else expect(member in classes[owner!]!.prototype).toBe(true);
    });
  }

  for (const name of KERNEL) {
    it(`names ${name}`, () => expect(text).toContain(`\`${name}\``));
  }
});
