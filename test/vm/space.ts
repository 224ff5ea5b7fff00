/** A type1 address space over one group, without opening the function itself. */
import { Type1AddressSpace } from '../../lib/iommu/type1.ts';
import type { Addon, Handle } from '../../lib/native/addon.ts';
import { loadAddon } from '../../lib/native/load.ts';
import { VFIO_IOMMU } from '../../lib/native/vfio.ts';
import { assert } from '../harness.ts';
import { groupOf } from './devices.ts';

export interface OpenSpace {
  readonly native: Addon;
  readonly container: Handle;
  readonly group: number;
  readonly space: Type1AddressSpace;
}

export function openSpace(address: string): OpenSpace {
  const native = loadAddon();
  const group = groupOf(address);
  const container = native.vfioContainerOpen(VFIO_IOMMU.type1);
  assert.ok(container > 0, `container: ${container}`);
  assert.equal(native.vfioGroupOpen(container, group), 0);
  assert.equal(native.vfioGroupAttach(container, group), 0);
  assert.equal(native.vfioSetIommu(container), 0);
  return { native, container, group, space: new Type1AddressSpace(native, container) };
}
