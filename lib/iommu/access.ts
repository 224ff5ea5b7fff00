/** The accesses that a device may make to memory that is mapped for it. */

/** Some IOMMUs cannot enforce write-only access: never rely on it to hide data. */
export type Access = 'read' | 'write' | 'read-write';

const BY_DIRECTION: readonly Access[] = ['read', 'read', 'write', 'read-write'];

/**
 * The access that the IOMMU must allow for a direction (dma_info_to_prot).
 * @param bits of `directionBits`
 */
export function accessFor(bits: number): Access {
  return BY_DIRECTION[bits]!;
}
