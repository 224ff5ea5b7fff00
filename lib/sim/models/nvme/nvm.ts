/** The NVM command set (NVM Express 1.4, 6): the commands of I/O queues. */
import type { DeviceBus } from '../../model.ts';
import type { Command } from './command.ts';
import type { DataTransfer } from './data-transfer.ts';
import { ALL_NAMESPACES } from './features.ts';
import { HIGHEST_NSID } from './identify.ts';
import type { Statistics } from './log-page.ts';
import type { NvmeNamespace } from './namespace.ts';
import { STATUS } from './status.ts';

export const NVM = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
  compare: 0x05,
  writeZeroes: 0x08,
  datasetManagement: 0x09,
} as const;

const SLBA = 40;
const RANGE = 16;
const DEALLOCATE = 4;

export interface NvmOptions {
  readonly bus: DeviceBus;
  readonly transfer: DataTransfer;
  readonly namespaces: readonly NvmeNamespace[];
  readonly statistics: Statistics;
  /** The most bytes that one command may move. */
  readonly maxBytes: number;
}

/** The NVM command set. */
export class NvmCommands {
  readonly #bus: DeviceBus;
  readonly #transfer: DataTransfer;
  readonly #namespaces: readonly NvmeNamespace[];
  readonly #statistics: Statistics;
  readonly #maxBytes: number;

  constructor({ bus, transfer, namespaces, statistics, maxBytes }: NvmOptions) {
    this.#bus = bus;
    this.#transfer = transfer;
    this.#namespaces = namespaces;
    this.#statistics = statistics;
    this.#maxBytes = maxBytes;
  }

  /** Returns a status. */
  execute(command: Command): number {
    const { nsid, opcode } = command;
    if (nsid === 0 || (nsid > HIGHEST_NSID && nsid !== ALL_NAMESPACES)) return STATUS.invalidNamespace;
    const namespace = this.#namespaces[nsid - 1];
    // There is no cache, so written data is already stored.
    if (opcode === NVM.flush) {
      return namespace === undefined && nsid !== ALL_NAMESPACES ? STATUS.invalidField : STATUS.success;
    }
    if (namespace === undefined) return STATUS.invalidField;
    switch (opcode) {
      case NVM.read:
      case NVM.write:
      case NVM.compare:
      case NVM.writeZeroes:
      case NVM.datasetManagement:
        break;
      default:
        return STATUS.invalidOpcode;
    }
    if (command.fused !== 0) return STATUS.invalidFusion;
    if (opcode === NVM.datasetManagement) return this.#manage(command, namespace);
    return this.#blocks(command, namespace, opcode);
  }

  /** Executes a command on a range of blocks. */
  #blocks(command: Command, namespace: NvmeNamespace, opcode: number): number {
    const first = command.word(SLBA) + command.word(SLBA + 4) * 2 ** 32;
    const count = (command.cdw12 & 0xffff) + 1;
    const size = count * namespace.blockSize;
    if (opcode !== NVM.writeZeroes && size > this.#maxBytes) return STATUS.invalidField;
    if (first + count > namespace.blocks) return STATUS.lbaRange;
    const offset = first * namespace.blockSize;
    if (opcode === NVM.writeZeroes) {
      namespace.zero(offset, size);
      return STATUS.success;
    }
    if (opcode === NVM.compare) return this.#compare(command, namespace, offset, size);
    const status = this.#transfer.map(command, size);
    if (status !== STATUS.success) return status;
    const statistics = this.#statistics;
    if (opcode === NVM.write) {
      statistics.writes++;
      statistics.bytesWritten += size;
      return this.#transfer.writeMedia(namespace, offset);
    }
    statistics.reads++;
    statistics.bytesRead += size;
    this.#transfer.readMedia(namespace, offset);
    return STATUS.success;
  }

  #compare(command: Command, namespace: NvmeNamespace, offset: number, size: number): number {
    const data = new Uint8Array(size);
    const status = this.#transfer.receive(command, data);
    if (status !== STATUS.success) return status;
    const same = Buffer.compare(data, namespace.read(offset, size)) === 0;
    return same ? STATUS.success : STATUS.compareFailure;
  }

  /**
   * Executes a Deallocate of ranges. If a range goes beyond the namespace, it is left alone without an error, as in
   * QEMU, and reported.
   */
  #manage(command: Command, namespace: NvmeNamespace): number {
    if ((command.cdw11 & DEALLOCATE) === 0) return STATUS.success;
    const ranges = new DataView(new ArrayBuffer(RANGE * ((command.cdw10 & 0xff) + 1)));
    const status = this.#transfer.receive(command, new Uint8Array(ranges.buffer));
    if (status !== STATUS.success) return status;
    for (let at = 0; at < ranges.byteLength; at += RANGE) {
      const count = ranges.getUint32(at + 4, true);
      const first = Number(ranges.getBigUint64(at + 8, true));
      if (first + count <= namespace.blocks) {
        namespace.zero(first * namespace.blockSize, count * namespace.blockSize);
      } else {
        const what = `range ${at / RANGE}, ${count} blocks from ${first} on, goes beyond ${namespace.blocks}`;
        this.#bus.report(this.#transfer.address(0), ranges.byteLength, 'read', what);
      }
    }
    return STATUS.success;
  }
}
