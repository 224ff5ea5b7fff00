/**
 * The Linux kernel's DMA API for TypeScript programs.
 *
 * @module userdma
 */

export type { CacheMaintenance } from './cache.ts';
export type { DebugOptions } from './debug/options.ts';
export type { DmaDirection } from './direction.ts';
export type { BounceOptions, BounceStats } from './dma/bounce/bounce.ts';
export type { Held } from './dma/buffers/allocations.ts';
export type { CoherentBuffer, CoherentOptions } from './dma/buffers/coherent.ts';
export type { NoncoherentBuffer } from './dma/buffers/noncoherent.ts';
export type { NoncontiguousBuffer } from './dma/buffers/noncontiguous.ts';
export type { DmaDebugView, DmaEntry, DmaReport, EntryType, ReportKind } from './dma/debug-view.ts';
export type { DeclarableMemory, DeclaredInfo, DeclareOptions, IoMemory } from './dma/declared/declared.ts';
export type { CoherentIoBuffer, IoRegisters } from './dma/declared/io.ts';
export { DmaDevice, type DmaDeviceOptions } from './dma/device.ts';
export type { IovaState } from './dma/iova/state.ts';
export type { IommuDomain } from './dma/operations/domain.ts';
export type { DmaPoolBlock } from './dma/pool/block.ts';
export type { PoolOptions } from './dma/pool/layout.ts';
export type { DmaPool, PoolStats } from './dma/pool/pool.ts';
export type { BlockIndices } from './dma/pool/stack.ts';
export type { DmaSegment, SgMapping } from './dma/sg/mapping.ts';
export type { DmaLimits } from './dma/streaming/limits.ts';
export type { MappingWay, StreamingMapping } from './dma/streaming/mapping.ts';
export type { RegisterSource } from './dma/streaming/resource.ts';
export type { StreamingOptions } from './dma/streaming/streaming.ts';
export { DMA_ATTR } from './dma/words/attributes.ts';
export { dmaBitMask } from './dma/words/mask.ts';
export { type Diagnosis, type DoctorOptions, diagnoseMachine, type Opening } from './doctor/doctor.ts';
export type { Machine, NodeState } from './doctor/machine.ts';
export type { Problem } from './doctor/problems.ts';
export { type Check, selfTest } from './doctor/self-test.ts';
export { DmaError, type DmaErrorOptions, type ErrnoName } from './errors.ts';
export type { InterruptAccess, InterruptKind } from './interrupts/access.ts';
export type { Interrupt, Interrupts, IntxOptions } from './interrupts/interrupt.ts';
export type { WaitOptions } from './interrupts/wait.ts';
export type { Access } from './iommu/access.ts';
export type { AddressSpace, IovaRange, MmioWindow, ReservedBytes } from './iommu/address-space.ts';
export type { AddressedMemory } from './memory/addressed.ts';
export { type DmaBuf, importDmaBuf } from './memory/dma-buf.ts';
export { DmaHeapMemory, type DmaHeapMemoryOptions, dmaHeaps } from './memory/dma-heap.ts';
export type { HugePages } from './memory/hugepages.ts';
export { MemfdMemory, type MemfdMemoryOptions } from './memory/memfd.ts';
export { PhysicalHugepages, type PhysicalHugepagesOptions } from './memory/physical-hugepages.ts';
export type { Coherence, MemorySource } from './memory/source.ts';
export type { UDmaBufMemory } from './memory/u-dma-buf.ts';
export { type OpenUDmaBufOptions, openUDmaBuf } from './memory/u-dma-buf-open.ts';
export { type ExportableMemory, type ExportOptions, exportDmaBuf } from './memory/udmabuf.ts';
export type { Bar, BarInfo } from './pci/bar.ts';
export { type BindOptions, type Bound, bindPci, unbindPci } from './pci/bind.ts';
export {
  type Capability,
  type ExtendedCapability,
  PCI_CAPABILITY,
  PCI_EXTENDED_CAPABILITY,
} from './pci/capabilities/capability.ts';
export {
  type CompletionTimeout,
  EXPRESS_STATUS,
  type ExpressCapability,
  type ExpressPortType,
  type Link,
} from './pci/capabilities/express.ts';
export {
  type AccessControl,
  type AddressTranslation,
  AER_CORRECTABLE,
  AER_UNCORRECTABLE,
  type ErrorReporting,
  type PageRequests,
  type ProcessAddressSpaces,
  type SingleRootIov,
} from './pci/capabilities/extended.ts';
export type {
  BarRange,
  MsiCapability,
  MsixCapability,
  PowerManagement,
  SettablePowerState,
  VendorCapability,
} from './pci/capabilities/standard.ts';
export type { ConfigSpace } from './pci/config-space.ts';
export { findPci } from './pci/find.ts';
export type { PciFunction, PowerState } from './pci/function.ts';
export { PCI_COMMAND, PCI_STATUS } from './pci/header.ts';
export { describePci, listPci, type PciDescription } from './pci/list.ts';
export { type OpenPciOptions, openPci } from './pci/open.ts';
export type { ResetKind, ResetReport } from './pci/reset.ts';
export type { ExpansionRom } from './pci/rom.ts';
export { disableSriov, enableSriov, readSriov, type Sriov, type SriovOptions } from './pci/sriov.ts';
export type {
  ConfigAccess,
  IommuInterface,
  OpenedFunction,
  OpenOptions,
  PciDescriptor,
  PciSource,
  PciTransport,
  RomAccess,
} from './pci/transport.ts';
export { type OpenPciUnsafeOptions, openPciUnsafe } from './pci/unsafe/open.ts';
export { type ExportBarOptions, exportBar } from './pci/vfio/export-bar.ts';
export { Registers } from './registers/registers.ts';
export type { RegisterSequence, RegisterStep } from './registers/sequence.ts';
export { dmaRmb, dmaWmb, mb } from './rings/barriers.ts';
export type { Column, WideColumn } from './rings/column.ts';
export { RingIndex, type RingIndexOptions } from './rings/ring-index.ts';
export {
  type ArrayOf,
  type Field,
  type Struct,
  type StructArray,
  struct,
  u8,
  u16,
  u16be,
  u32,
  u32be,
  u64,
  u64be,
} from './rings/struct.ts';
export { type OpenUioOptions, openUio } from './uio/open.ts';
export type { PlatformDevice } from './uio/platform-device.ts';
export type { UioMap } from './uio/sysfs.ts';
