/**
 * An NVM Express 1.4 controller, as close to QEMU's `nvme` as a driver can tell. It has registers and doorbells, and
 * behind them queues and commands.
 *
 *      BAR 0   0x0000  registers                              model.ts, registers.ts
 *              0x1000  doorbells                              model.ts
 *                      fetch, execute, complete, interrupt    engine.ts, queues.ts
 *                      admin commands                         admin.ts, identify.ts, features.ts, log-page.ts,
 *                                                             events.ts
 *                      I/O commands                           nvm.ts, namespace.ts
 *                      PRPs, SGLs and the data                data-pointer.ts, prp.ts, sgl.ts, data-transfer.ts
 *              then    MSI-X table and pending bits           owned by the host
 *
 * A driver that follows the specification does not see the differences from QEMU 7.2. FLR clears all registers (QEMU
 * keeps AQA, ASQ and ACQ). PRP1 must be a multiple of 4. A Write whose data cannot be read fails with Data Transfer
 * Error (QEMU writes the bytes that it has). The model does not claim the abilities that it lacks (Format, Copy,
 * Verify, timestamps, virtual functions).
 */
import { argumentError, checkOptions, checkText, checkWhole, whole } from '../../../arguments.ts';
import { wholeAddress } from '../../../iommu/bus-address.ts';
import type { BarDescription, DeviceBus, DeviceModel, FunctionDescription, Width } from '../../model.ts';
import { Activity } from './activity.ts';
import { AdminCommands } from './admin.ts';
import type { Command } from './command.ts';
import { DataTransfer } from './data-transfer.ts';
import { Engine } from './engine.ts';
import { AsynchronousEvents, EVENT } from './events.ts';
import { Features } from './features.ts';
import { HIGHEST_NSID, VERSION } from './identify.ts';
import { LOG_PAGE, Statistics } from './log-page.ts';
import { NvmeNamespace, type NvmeNamespaceOptions } from './namespace.ts';
import { NvmCommands } from './nvm.ts';
import { CompletionQueue, type QueueMemory, SubmissionQueue } from './queues.ts';
import {
  CSTS,
  capabilities,
  configuration,
  DOORBELLS,
  REGISTER,
  REGISTERS_SIZE,
  refusal,
} from './registers.ts';
import { STATUS } from './status.ts';

const PAGE = 4096;
const INVALID_DOORBELL_REGISTER = 0;
const INVALID_DOORBELL_VALUE = 1;

/** Options of the model. */
export interface NvmeOptions {
  /** Default: one namespace of 128 MiB with blocks of 512 bytes. */
  readonly namespaces?: readonly NvmeNamespaceOptions[];
  /** The number of I/O queue pairs, 1 to 2047; there is one more MSI-X vector. Default 64. */
  readonly ioQueues?: number;
  /** CAP.DSTRD: the distance of doorbells is 4 << this bytes. Default 0. */
  readonly doorbellStride?: number;
  /** MDTS: the largest command moves 4096 << this bytes; 0: no limit. Default 7. */
  readonly maxTransfer?: number;
  /**
   * Simulated microseconds of an I/O command. Its data moves at the end of that time. Default 0: the command is done
   * when the doorbell write returns.
   */
  readonly latency?: number;
  /** At most 20 characters. Default `simulated`. */
  readonly serial?: string;
}

/** An NVMe controller. */
export class NvmeModel implements DeviceModel {
  readonly config: FunctionDescription;
  readonly bars: readonly BarDescription[];
  /** The stored data, which is independent of the controller's state. */
  readonly namespaces: readonly NvmeNamespace[];
  readonly #options: Required<NvmeOptions>;
  readonly #registers = new DataView(new ArrayBuffer(REGISTERS_SIZE));
  readonly #activity = new Activity();
  readonly #statistics = new Statistics();
  /**
   * The shift from the offset of a doorbell to its number. The number is twice the queue's, plus one for a completion
   * queue.
   */
  readonly #doorbellShift: number;
  #bus!: DeviceBus;
  #engine!: Engine;
  #transfer!: DataTransfer;
  #features!: Features;
  #events!: AsynchronousEvents;
  #admin!: AdminCommands;
  #nvm!: NvmCommands;

  /** @throws DmaError EINVAL options */
  constructor(options: NvmeOptions = {}) {
    checkOptions<NvmeOptions>(options, 'NvmeModel', {
      namespaces: checkNamespaces,
      ioQueues: whole(1, 2047),
      doorbellStride: whole(0, 10),
      maxTransfer: whole(0, 20),
      latency: whole(0, Number.MAX_SAFE_INTEGER),
      serial: checkSerial,
    });
    const { namespaces = [{}], ioQueues = 64, doorbellStride = 0, maxTransfer = 7, latency = 0 } = options;
    const { serial = 'simulated' } = options;
    this.#options = { namespaces, ioQueues, doorbellStride, maxTransfer, latency, serial };
    this.#doorbellShift = 2 + doorbellStride;
    this.namespaces = namespaces.map((one, i) => new NvmeNamespace(i + 1, one));
    const vectors = ioQueues + 1;
    const table = pages(DOORBELLS + ((2 * vectors) << this.#doorbellShift));
    const pending = pages(table + 16 * vectors);
    this.config = {
      vendorId: 0x1b36,
      deviceId: 0x0010,
      revision: 2,
      classCode: 0x010802,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
      intx: true,
      msix: { vectors, bar: 0, table, pending },
      express: true,
      functionLevelReset: true,
    };
    const size = 2 ** Math.ceil(Math.log2(pending + 8 * Math.ceil(vectors / 64)));
    this.bars = [{ index: 0, size, is64Bit: true }];
  }

  attach(bus: DeviceBus): void {
    const { ioQueues, latency, maxTransfer, serial } = this.#options;
    const { namespaces } = this;
    const activity = this.#activity;
    const statistics = this.#statistics;
    const maxBytes = maxTransfer === 0 ? Number.POSITIVE_INFINITY : PAGE * 2 ** maxTransfer;
    this.#bus = bus;
    const engine = new Engine({
      bus,
      activity,
      latency,
      execute: (command) => this.#execute(command),
      fail: () => this.#setStatus(CSTS.fatal),
    });
    const transfer = new DataTransfer(bus, activity);
    const events = new AsynchronousEvents((cid, result) => {
      engine.completeNow(engine.submissions[0]!, cid, STATUS.success, result);
    });
    const features = new Features({
      ioQueues,
      namespaces: namespaces.length,
      highestNsid: HIGHEST_NSID,
      events,
      queuesCreated: () => engine.completions.length > 1,
    });
    const identity = { serial, maxTransfer, namespaces };
    this.#nvm = new NvmCommands({ bus, transfer, namespaces, statistics, maxBytes });
    this.#admin = new AdminCommands({
      ...{ bus, engine, transfer, features, events, statistics, identity, ioQueues, maxBytes },
      vectors: ioQueues + 1,
    });
    this.#engine = engine;
    this.#transfer = transfer;
    this.#features = features;
    this.#events = events;
  }

  reset(): void {
    const { low, high } = capabilities(this.#options.doorbellStride);
    for (let at = 0; at < REGISTERS_SIZE; at += 4) this.#set(at, 0);
    this.#set(REGISTER.capabilities, low);
    this.#set(REGISTER.capabilities + 4, high);
    this.#set(REGISTER.version, VERSION);
    this.#resetController();
  }

  activity(): string | undefined {
    return this.#activity.describe();
  }

  /** The driver reads a register. */
  read(_bar: number, offset: number, width: Width): number {
    if (offset + width > REGISTERS_SIZE) return 0;
    if (width === 4) return this.#registers.getUint32(offset, true);
    return width === 2 ? this.#registers.getUint16(offset, true) : this.#registers.getUint8(offset);
  }

  /** The driver writes a register. */
  write(_bar: number, offset: number, width: Width, value: number): void {
    if (width !== 4) {
      this.#bus.report(0, width, 'write', `a write of ${width} bytes to register 0x${offset.toString(16)}`);
    } else if (offset >= DOORBELLS) this.#ring(offset, value & 0xffff);
    else this.#writeRegister(offset, value);
  }

  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case REGISTER.interruptMaskSet:
        this.#setMask(this.#engine.mask | value);
        break;
      case REGISTER.interruptMaskClear:
        this.#setMask(this.#engine.mask & ~value);
        break;
      case REGISTER.configuration:
        this.#configure(value);
        break;
      case REGISTER.adminQueueAttributes:
      case REGISTER.adminSubmissionQueue:
      case REGISTER.adminSubmissionQueue + 4:
      case REGISTER.adminCompletionQueue:
      case REGISTER.adminCompletionQueue + 4:
        this.#set(offset, value);
        break;
    }
  }

  #setMask(mask: number): void {
    this.#engine.mask = mask >>> 0;
    this.#set(REGISTER.interruptMaskSet, mask);
    this.#set(REGISTER.interruptMaskClear, mask);
    this.#engine.updateLine();
  }

  #configure(value: number): void {
    const before = configuration(this.#get(REGISTER.configuration));
    const now = configuration(value);
    if (before.enabled && !now.enabled) {
      this.#resetController();
      return;
    }
    this.#set(REGISTER.configuration, value);
    let status = this.#get(REGISTER.status);
    if (before.shutdown !== now.shutdown) {
      status &= ~CSTS.shutdown;
      if (now.shutdown) status |= CSTS.shutdownComplete;
    }
    if (now.enabled && !before.enabled) status = this.#start(value, now.pageSize) ? CSTS.ready : CSTS.fatal;
    this.#setStatus(status);
  }

  #start(cc: number, pageSize: number): boolean {
    const attributes = this.#get(REGISTER.adminQueueAttributes);
    const submissions = this.#adminQueue(REGISTER.adminSubmissionQueue, attributes & 0xfff);
    const completions = this.#adminQueue(REGISTER.adminCompletionQueue, (attributes >>> 16) & 0xfff);
    const why = refusal(cc, { submissions, completions });
    if (why !== undefined) {
      const { low, high } = submissions;
      this.#bus.report(wholeAddress(low, high), 0, 'read', `cannot be enabled: ${why}`);
      return false;
    }
    this.#transfer.pageSize = pageSize;
    const queue = new CompletionQueue(0, completions, 0, true);
    this.#engine.completions[0] = queue;
    this.#engine.add(new SubmissionQueue(0, submissions, queue));
    return true;
  }

  #adminQueue(register: number, size: number): QueueMemory {
    return { low: this.#get(register), high: this.#get(register + 4), entries: size + 1 };
  }

  /** CC.EN went from 1 to 0. The registers that describe the admin queue stay. */
  #resetController(): void {
    this.#engine.reset();
    this.#events.reset();
    this.#features.reset();
    this.#set(REGISTER.configuration, 0);
    this.#set(REGISTER.interruptMaskSet, 0);
    this.#set(REGISTER.interruptMaskClear, 0);
    this.#setStatus(0);
  }

  #ring(offset: number, value: number): void {
    const number = (offset - DOORBELLS) >>> this.#doorbellShift;
    const id = number >>> 1;
    const isHead = (number & 1) === 1;
    const queue = isHead ? this.#engine.completions[id] : this.#engine.submissions[id];
    const between = ((offset - DOORBELLS) & ((1 << this.#doorbellShift) - 1)) !== 0;
    if (queue === undefined || between) {
      const what = `a doorbell at 0x${offset.toString(16)}, where no queue has one`;
      this.#complain(0, what, INVALID_DOORBELL_REGISTER);
    } else if (queue instanceof SubmissionQueue) {
      if (queue.takes(value)) {
        queue.tail = value;
        this.#engine.serve(queue);
      } else this.#refuse(queue, `submission doorbell of queue ${id}`, value);
    } else if (queue.takes(value)) {
      queue.head = value;
      this.#engine.resume(queue);
    } else this.#refuse(queue, `completion doorbell of queue ${id}`, value);
  }

  #refuse(
    { address, entries, head, tail }: SubmissionQueue | CompletionQueue,
    what: string,
    value: number,
  ): void {
    const queue = `the queue has ${entries} entries, head ${head} and tail ${tail}`;
    this.#complain(address, `the ${what} says ${value}, and ${queue}`, INVALID_DOORBELL_VALUE);
  }

  /**
   * A doorbell value that cannot be right: it is reported to the driver's author, and to a driver that asked for
   * events.
   */
  #complain(address: bigint | number, what: string, information: number): void {
    this.#bus.report(address, 0, 'write', what);
    if (this.#events.awaited) this.#events.tell(EVENT.error, information, LOG_PAGE.error);
  }

  #execute(command: Command): number {
    return command.queue.id === 0 ? this.#admin.execute(command) : this.#nvm.execute(command);
  }

  #setStatus(status: number): void {
    this.#set(REGISTER.status, status);
  }

  #get(register: number): number {
    return this.#registers.getUint32(register, true);
  }

  #set(register: number, value: number): void {
    this.#registers.setUint32(register, value, true);
  }
}

function pages(size: number): number {
  return Math.ceil(size / PAGE) * PAGE;
}

function checkNamespaces(namespaces: unknown, what: string): void {
  if (!Array.isArray(namespaces))
    throw argumentError(what, namespaces, 'pass an array, [{}] for one namespace');
  checkWhole(namespaces.length, 'the number of namespaces', 0, HIGHEST_NSID);
}

function checkSerial(serial: unknown, what: string): void {
  checkText(serial, what);
  checkWhole((serial as string).length, 'the length of the serial number', 1, 20);
}
