/** docs/dma-api.md promises names; here they are looked up, and what the kernel has is looked up in it. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CoherentBuffer } from '../../lib/dma/buffers/coherent.ts';
import { NoncoherentBuffer } from '../../lib/dma/buffers/noncoherent.ts';
import { NoncontiguousBuffer } from '../../lib/dma/buffers/noncontiguous.ts';
import { IovaState } from '../../lib/dma/iova/state.ts';
import { DmaPool } from '../../lib/dma/pool/pool.ts';
import { SgMapping } from '../../lib/dma/sg/mapping.ts';
import { DmaLimits } from '../../lib/dma/streaming/limits.ts';
import { StreamingMapping } from '../../lib/dma/streaming/mapping.ts';
import * as userdma from '../../lib/index.ts';

const classes: Record<string, { prototype: object }> = {
  CoherentBuffer,
  DmaDevice: userdma.DmaDevice,
  DmaLimits,
  DmaPool,
  IovaState,
  NoncoherentBuffer,
  NoncontiguousBuffer,
  SgMapping,
  StreamingMapping,
};

/** What DMA-API.txt of the 4.x kernels documents, by its parts; dma-API-HOWTO.txt adds nothing to it. */
const KERNEL_4 = `
  dma_alloc_coherent dma_zalloc_coherent dma_free_coherent
  dma_pool_create dma_pool_zalloc dma_pool_alloc dma_pool_free dma_pool_destroy
  dma_supported dma_set_mask_and_coherent dma_set_mask dma_set_coherent_mask dma_get_required_mask
  dma_map_single dma_unmap_single dma_map_page dma_unmap_page dma_map_resource dma_unmap_resource dma_mapping_error
  dma_map_sg dma_unmap_sg dma_sync_single_for_cpu dma_sync_sg_for_cpu dma_sync_single_for_device
  dma_sync_sg_for_device dma_map_single_attrs dma_unmap_single_attrs dma_map_sg_attrs dma_unmap_sg_attrs
  dma_alloc_noncoherent dma_free_noncoherent dma_get_cache_alignment dma_cache_sync
  dma_declare_coherent_memory dma_release_declared_memory dma_mark_declared_memory_occupied
  DMA_MEMORY_EXCLUSIVE DMA_MEMORY_IO DMA_MEMORY_INCLUDES_CHILDREN
  debug_dma_mapping_error dma_debug_entries dma_debug_driver`;

/** What dma-api.rst, dma-api-howto.rst and include/linux/dma-mapping.h have today, beyond that. */
const KERNEL_TODAY = `
  DMA_BIT_MASK dma_coerce_mask_and_coherent dma_get_mask dma_addressing_limited dma_max_mapping_size
  dma_opt_mapping_size dma_need_sync dma_get_merge_boundary dma_get_max_seg_size dma_set_max_seg_size
  dma_get_seg_boundary dma_set_seg_boundary dma_get_seg_boundary_nr_pages dma_get_min_align_mask
  dma_set_min_align_mask dma_pci_p2pdma_supported
  dma_alloc_attrs dma_free_attrs dma_alloc_wc dma_free_wc dma_mmap_wc dma_mmap_attrs dma_mmap_coherent dma_can_mmap
  dma_get_sgtable dmam_alloc_coherent dmam_alloc_attrs dmam_free_coherent
  dma_pool_create_node dmam_pool_create dmam_pool_destroy
  dma_map_page_attrs dma_unmap_page_attrs dma_map_phys dma_unmap_phys dma_map_sgtable dma_unmap_sgtable
  dma_sync_sgtable_for_cpu dma_sync_sgtable_for_device dma_sync_single_range_for_cpu
  dma_sync_single_range_for_device sg_dma_address sg_dma_len DEFINE_DMA_UNMAP_ADDR dma_unmap_addr dma_unmap_len
  dma_iova_try_alloc dma_use_iova dma_iova_link dma_iova_sync dma_iova_unlink dma_iova_free dma_iova_destroy
  dma_alloc_pages dma_free_pages dma_mmap_pages
  dma_alloc_noncontiguous dma_free_noncontiguous dma_vmap_noncontiguous dma_vunmap_noncontiguous
  dma_mmap_noncontiguous dma_release_coherent_memory`;

const KERNEL = new Set(`${KERNEL_4} ${KERNEL_TODAY}`.trim().split(/\s+/));

interface Row {
  readonly kernel: readonly string[];
  readonly ours: readonly string[];
  readonly difference: string;
}

/** What is written as code in a cell. */
const names = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);

const text = readFileSync(new URL('../../docs/dma-api.md', import.meta.url), 'utf8');
const tables = text.split('\n').filter((line) => line.startsWith('|'));
const rows: readonly Row[] = tables
  .filter((line) => /^\| `[A-Za-z_0-9]+`/.test(line))
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .map(([, kernel, ours, ...difference]) => ({
    kernel: names(kernel!),
    ours: ours === '-' ? [] : names(ours!),
    difference: difference.join('|'),
  }));

function exists(name: string): boolean {
  const [owner, member] = name.split('.');
  if (member === undefined) return owner! in userdma;
  return owner! in classes && member in classes[owner!]!.prototype;
}

describe('docs/dma-api.md', () => {
  it('has rows, and each of them three columns', () => {
    expect(rows.length).toBeGreaterThan(60);
    for (const { kernel, difference } of rows) expect(difference.endsWith('|'), kernel[0]).toBe(true);
  });

  for (const { kernel, ours, difference } of rows) {
    it(`${kernel[0]} is ${ours.join(', ') || 'nothing to call'}`, () => {
      for (const name of ours) expect(exists(name), name).toBe(true);
      if (ours.length === 0) expect(difference.length, 'a reason').toBeGreaterThan(10);
    });
  }

  it('names nothing in its last column that is not there', () => {
    const mentioned = rows
      .flatMap(({ difference }) => names(difference))
      .filter((name) => /^Dma\w+\./.test(name));
    for (const name of mentioned) expect(exists(name), name).toBe(true);
  });

  it('has every function of the kernel in a row, once, and none that the kernel never had', () => {
    const named = rows.flatMap(({ kernel }) => kernel);
    expect([...KERNEL].filter((name) => !named.includes(name))).toEqual([]);
    expect(named.filter((name) => !KERNEL.has(name))).toEqual([]);
    expect(named.filter((name, index) => named.indexOf(name) !== index)).toEqual([]);
  });

  it('says of every back end what it does', () => {
    const matrix = tables.slice(tables.findIndex((line) => line.includes('VFIO `type1`')));
    const cells = (line: string): string[] => line.split('|').slice(1, -1);
    expect(cells(matrix[0]!).length).toBe(7);
    for (const line of matrix.slice(2)) {
      expect(
        cells(line).every((cell) => cell.trim() !== ''),
        line,
      ).toBe(true);
      expect(cells(line).length, line).toBe(7);
    }
  });
});
