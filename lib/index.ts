/** userdma: the Linux kernel's DMA API for TypeScript programs. */
export { DMA_ATTR } from './dma/attributes.ts';
export type { BounceOptions, BounceStats } from './dma/bounce.ts';
export type { CacheMaintenance } from './dma/cache.ts';
export type { CoherentBuffer } from './dma/coherent.ts';
export { DmaDevice, type DmaDeviceOptions, type Held } from './dma/device.ts';
export type { DmaDirection } from './dma/direction.ts';
export type { IovaState } from './dma/iova-state.ts';
export type { DmaLimits } from './dma/limits.ts';
export type { MappingWay, StreamingMapping } from './dma/mapping.ts';
export { dmaBitMask } from './dma/mask.ts';
export type { NoncoherentBuffer } from './dma/noncoherent.ts';
export type { DmaPool, PoolStats } from './dma/pool.ts';
export type { DmaPoolBlock } from './dma/pool-block.ts';
export type { PoolOptions } from './dma/pool-layout.ts';
export type { RegisterSource } from './dma/resource.ts';
export type { DmaSegment, SgMapping } from './dma/sg-mapping.ts';
export type { StreamingOptions } from './dma/streaming.ts';
export { DmaError, type DmaErrorOptions, type ErrnoName } from './errors.ts';
export type { Access, AddressSpace, IovaRange, MmioWindow } from './iommu/address-space.ts';
export type { AddressedMemory } from './memory/addressed.ts';
export type { Coherence, MemorySource } from './memory/source.ts';
export { Bar, type BarInfo } from './pci/bar.ts';
export { type Capability, type ConfigSpace, PCI_CAPABILITY, PCI_COMMAND } from './pci/config-space.ts';
export { findPci } from './pci/find.ts';
export type { PciFunction } from './pci/function.ts';
export type { Interrupt, Interrupts } from './pci/interrupt.ts';
export { type OpenPciOptions, openPci } from './pci/open.ts';
export type {
  ConfigAccess,
  InterruptAccess,
  InterruptKind,
  OpenedFunction,
  OpenOptions,
  PciSource,
  PciTransport,
} from './pci/transport.ts';
