/**
 * The NVMe driver. Its model is `NvmeModel` of userdma/sim.
 *
 * @module userdma/nvme
 */
export type { AdminCommands } from './admin.ts';
export type { CommandQueue } from './command-queue.ts';
export type { Command, DataPointer } from './commands.ts';
export {
  type CompletionMode,
  NvmeController,
  type NvmeOptions,
  type NvmeState,
} from './controller.ts';
export type { ControllerIdentity, NamespaceIdentity } from './identify.ts';
export type { ErrorEntry, HealthLog } from './log-pages.ts';
export type { Lent, Payload, TransferMemory } from './memory.ts';
export type { Namespace, TransferOptions } from './namespace.ts';
export type { Completion, QueuePair } from './queue-pair.ts';
export { NvmeError } from './status.ts';
