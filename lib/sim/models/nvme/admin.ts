/** The admin command set (NVM Express 1.4, 5): the commands of queue 0. */
import { wholeAddress } from '../../../iommu/bus-address.ts';
import type { DeviceBus } from '../../model.ts';
import type { Command } from './command.ts';
import type { DataTransfer } from './data-transfer.ts';
import type { Engine } from './engine.ts';
import { type AsynchronousEvents, EVENT } from './events.ts';
import { ALL_NAMESPACES, type Features } from './features.ts';
import { type IdentityOptions, identify } from './identify.ts';
import { effectsLog, errorLog, firmwareLog, LOG_PAGE, type Statistics, smartLog } from './log-page.ts';
import { NVM } from './nvm.ts';
import { CompletionQueue, type QueueMemory, SubmissionQueue } from './queues.ts';
import { LARGEST_QUEUE } from './registers.ts';
import { STATUS } from './status.ts';

const ADMIN = {
  deleteSubmissionQueue: 0x00,
  createSubmissionQueue: 0x01,
  getLogPage: 0x02,
  deleteCompletionQueue: 0x04,
  createCompletionQueue: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asynchronousEventRequest: 0x0c,
} as const;

const OPCODES = new Set<number>(Object.values(ADMIN));
const PRP1 = 24;
const CONTIGUOUS = 1;
const INTERRUPTS = 2;
const RETAIN_EVENT = 1 << 15;
const NOT_ABORTED = 1;

export interface AdminOptions {
  readonly bus: DeviceBus;
  readonly engine: Engine;
  readonly transfer: DataTransfer;
  readonly features: Features;
  readonly events: AsynchronousEvents;
  readonly statistics: Statistics;
  readonly identity: IdentityOptions;
  readonly ioQueues: number;
  readonly vectors: number;
  readonly maxBytes: number;
}

/** The admin commands of the controller. */
export class AdminCommands {
  readonly #options: AdminOptions;

  constructor(options: AdminOptions) {
    this.#options = options;
  }

  /** Returns a status, or PENDING. */
  execute(command: Command): number {
    const { opcode } = command;
    if (!OPCODES.has(opcode)) return STATUS.invalidOpcode;
    // On PCI Express, admin commands do not use SGLs.
    if (command.psdt !== 0) return STATUS.invalidField;
    if (command.fused !== 0) return STATUS.invalidFusion;
    const { features, events } = this.#options;
    switch (opcode) {
      case ADMIN.createCompletionQueue:
        return this.#createCompletionQueue(command);
      case ADMIN.createSubmissionQueue:
        return this.#createSubmissionQueue(command);
      case ADMIN.deleteCompletionQueue:
        return this.#deleteCompletionQueue(command);
      case ADMIN.deleteSubmissionQueue:
        return this.#deleteSubmissionQueue(command);
      case ADMIN.identify:
        return this.#identify(command);
      case ADMIN.getLogPage:
        return this.#getLogPage(command);
      case ADMIN.setFeatures:
        return features.set(command);
      case ADMIN.getFeatures:
        return features.get(command);
      case ADMIN.abort:
        return this.#abort(command);
      default:
        return events.request(command.cid);
    }
  }

  #createCompletionQueue(command: Command): number {
    const { engine, bus, vectors } = this.#options;
    const id = command.cdw10 & 0xffff;
    const vector = command.cdw11 >>> 16;
    if (!this.#isFree(id, engine.completions)) return STATUS.invalidQueueId;
    const refusal = this.#checkSize(command);
    if (refusal !== STATUS.success) return refusal;
    // The INTx line serves vector 0 only.
    if (vector >= vectors || (vector > 0 && !bus.messages)) {
      const why = vector < vectors ? 'before MSI-X is enabled' : `of ${vectors}`;
      return this.#refuse(STATUS.invalidVector, command, `a completion queue with vector ${vector} ${why}`);
    }
    if ((command.cdw11 & CONTIGUOUS) === 0) return this.#refuse(STATUS.invalidField, command, SCATTERED);
    const interrupts = (command.cdw11 & INTERRUPTS) !== 0;
    engine.completions[id] = new CompletionQueue(id, queueMemory(command), vector, interrupts);
    return STATUS.success;
  }

  #createSubmissionQueue(command: Command): number {
    const { engine } = this.#options;
    const id = command.cdw10 & 0xffff;
    const completionId = command.cdw11 >>> 16;
    const completions = completionId === 0 ? undefined : engine.completions[completionId];
    if (completions === undefined) return STATUS.invalidCompletionQueue;
    if (!this.#isFree(id, engine.submissions)) return STATUS.invalidQueueId;
    const refusal = this.#checkSize(command);
    if (refusal !== STATUS.success) return refusal;
    if ((command.cdw11 & CONTIGUOUS) === 0) return this.#refuse(STATUS.invalidField, command, SCATTERED);
    engine.add(new SubmissionQueue(id, queueMemory(command), completions));
    return STATUS.success;
  }

  #isFree(id: number, queues: readonly unknown[]): boolean {
    return id > 0 && id <= this.#options.ioQueues && queues[id] === undefined;
  }

  #checkSize(command: Command): number {
    const size = command.cdw10 >>> 16;
    if (size === 0 || size > LARGEST_QUEUE) return STATUS.invalidQueueSize;
    if (command.word(PRP1) % this.#options.transfer.pageSize === 0) return STATUS.success;
    return this.#refuse(STATUS.invalidPrpOffset, command, 'the queue has an offset in its page');
  }

  #deleteCompletionQueue(command: Command): number {
    const { engine } = this.#options;
    const id = command.cdw10 & 0xffff;
    const queue = id === 0 ? undefined : engine.completions[id];
    if (queue === undefined) return STATUS.invalidCompletionQueue;
    if (queue.submissions.size > 0) return STATUS.invalidQueueDeletion;
    engine.completions[id] = undefined;
    engine.updateLine();
    return STATUS.success;
  }

  #deleteSubmissionQueue(command: Command): number {
    const { engine } = this.#options;
    const id = command.cdw10 & 0xffff;
    const queue = id === 0 ? undefined : engine.submissions[id];
    if (queue === undefined) return STATUS.invalidQueueId;
    engine.remove(queue);
    return STATUS.success;
  }

  #identify(command: Command): number {
    const { identity, transfer } = this.#options;
    const data = identify(identity, command.cdw10 & 0xff, command.nsid, command.cdw11 >>> 24);
    return typeof data === 'number' ? data : transfer.send(command, data);
  }

  #getLogPage(command: Command): number {
    const { transfer, events, maxBytes } = this.#options;
    const { cdw10 } = command;
    const size = (((command.cdw11 & 0xffff) << 16) | (cdw10 >>> 16)) * 4 + 4;
    const offset = command.word(48) + command.word(52) * 2 ** 32;
    if (offset % 4 !== 0 || size > maxBytes) return STATUS.invalidField;
    const page = cdw10 & 0xff;
    const data = this.#logPage(page, command.nsid);
    if (typeof data === 'number') return data;
    if (offset >= data.length) return STATUS.invalidField;
    if ((cdw10 & RETAIN_EVENT) === 0) {
      if (page === LOG_PAGE.error) events.clear(EVENT.error);
      if (page === LOG_PAGE.smart) events.clear(EVENT.smart);
    }
    return transfer.send(command, data.subarray(offset, offset + size));
  }

  #logPage(page: number, nsid: number): Uint8Array | number {
    const { statistics, features, identity } = this.#options;
    switch (page) {
      case LOG_PAGE.error:
        return errorLog();
      case LOG_PAGE.smart: {
        const known = nsid === ALL_NAMESPACES || identity.namespaces[nsid - 1] !== undefined;
        return known ? smartLog(statistics, features.temperatureWarning) : STATUS.invalidNamespace;
      }
      case LOG_PAGE.firmware:
        return firmwareLog();
      case LOG_PAGE.effects:
        return effectsLog([...OPCODES], Object.values(NVM), [
          NVM.flush,
          NVM.write,
          NVM.writeZeroes,
          NVM.datasetManagement,
        ]);
      default:
        return STATUS.invalidField;
    }
  }

  /** Only a command that has not begun can be aborted. */
  #abort(command: Command): number {
    const { engine } = this.#options;
    command.result = NOT_ABORTED;
    const queue = engine.submissions[command.cdw10 & 0xffff];
    if (queue === undefined) return STATUS.invalidField;
    for (const one of queue.inFlight) {
      if (one.cid !== command.cdw10 >>> 16) continue;
      queue.inFlight.delete(one);
      engine.completeNow(queue, one.cid, STATUS.abortRequested, 0);
      command.result = 0;
      break;
    }
    return STATUS.success;
  }

  #refuse(status: number, command: Command, reason: string): number {
    const { low, high } = queueMemory(command);
    this.#options.bus.report(wholeAddress(low, high), 0, 'read', reason);
    return status;
  }
}

const SCATTERED = 'the queue is not in one piece, which CAP.CQR asks for';

function queueMemory(command: Command): QueueMemory {
  return {
    low: command.word(PRP1),
    high: command.word(PRP1 + 4),
    entries: (command.cdw10 >>> 16) + 1,
  };
}
