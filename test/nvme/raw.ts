/**
 * An NVMe controller by hand: registers, entries of queues, doorbells. For tests of what a controller does, in which a
 * driver would stand between the test and the device. NVM Express 1.4.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { Bar, CoherentBuffer, PciFunction } from '../../lib/index.ts';

export const REGISTER = {
  capabilities: 0x00,
  version: 0x08,
  interruptMaskSet: 0x0c,
  interruptMaskClear: 0x10,
  configuration: 0x14,
  status: 0x1c,
  adminQueueAttributes: 0x24,
  adminSubmissionQueue: 0x28,
  adminCompletionQueue: 0x30,
} as const;

export const DOORBELLS = 0x1000;
/** Entries of 64 and 16 bytes, and enabled. */
export const ENABLE = (4 << 20) | (6 << 16) | 1;
export const READY = 1;
export const FATAL = 2;
const PATIENCE = 10_000;

export const ADMIN = {
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

export const NVM = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
  compare: 0x05,
  writeZeroes: 0x08,
  datasetManagement: 0x09,
} as const;

/** Fields of a submission queue entry; what is left out is 0. */
export interface RawCommand {
  readonly opcode: number;
  /** Default: one that no other command in flight has. */
  readonly cid?: number;
  /** Bits 8 to 15 of the first word: fused operation, and PRPs or SGLs. */
  readonly flags?: number;
  readonly nsid?: number;
  readonly prp1?: bigint;
  readonly prp2?: bigint;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
  readonly cdw13?: number;
  readonly cdw14?: number;
}

export interface RawCompletion {
  readonly result: number;
  readonly sqHead: number;
  readonly sqId: number;
  readonly cid: number;
  readonly phase: number;
  /** Without the phase: 0x4000 do not retry, 0x700 type, 0xff code. */
  readonly status: number;
}

/** A submission queue and its completion queue, of the same number. */
export class RawQueue {
  readonly id: number;
  readonly entries: number;
  readonly completionEntries: number;
  readonly submissions: CoherentBuffer;
  readonly completions: CoherentBuffer;
  tail = 0;
  head = 0;
  phase = 1;
  readonly #bar: Bar;
  readonly #stride: number;
  readonly #sq: DataView;
  readonly #cq: DataView;
  readonly #words: Uint32Array;
  #nextCid = 0;

  constructor(fn: PciFunction, id: number, entries: number, completionEntries = entries) {
    this.id = id;
    this.entries = entries;
    this.completionEntries = completionEntries;
    this.submissions = fn.dma.allocCoherent(64 * entries);
    this.completions = fn.dma.allocCoherent(16 * completionEntries);
    this.#bar = fn.bar(0);
    this.#stride = 4 << (Number(this.#bar.read64(REGISTER.capabilities) >> 32n) & 0xf);
    this.#sq = new DataView(this.submissions.buffer);
    this.#cq = new DataView(this.completions.buffer);
    this.#words = new Uint32Array(this.completions.buffer);
  }

  /** Writes an entry and moves on, without telling the device. Returns the command identifier. */
  put(command: RawCommand): number {
    const cid = command.cid ?? this.#nextCid++ & 0xffff;
    const at = 64 * this.tail;
    const view = this.#sq;
    this.submissions.bytes.fill(0, at, at + 64);
    view.setUint32(at, (command.opcode | ((command.flags ?? 0) << 8) | (cid << 16)) >>> 0, true);
    view.setUint32(at + 4, command.nsid ?? 0, true);
    view.setBigUint64(at + 24, command.prp1 ?? 0n, true);
    view.setBigUint64(at + 32, command.prp2 ?? 0n, true);
    view.setUint32(at + 40, command.cdw10 ?? 0, true);
    view.setUint32(at + 44, command.cdw11 ?? 0, true);
    view.setUint32(at + 48, command.cdw12 ?? 0, true);
    view.setUint32(at + 52, command.cdw13 ?? 0, true);
    view.setUint32(at + 56, command.cdw14 ?? 0, true);
    this.tail = (this.tail + 1) % this.entries;
    return cid;
  }

  ring(tail = this.tail): void {
    this.#bar.write32(DOORBELLS + 2 * this.id * this.#stride, tail);
  }

  ringHead(head = this.head): void {
    this.#bar.write32(DOORBELLS + (2 * this.id + 1) * this.#stride, head);
  }

  /** The next completion if it is there; the device is not told that it was taken. */
  peek(): RawCompletion | undefined {
    const at = 16 * this.head;
    const last = Atomics.load(this.#words, at / 4 + 3);
    if (((last >>> 16) & 1) !== this.phase) return undefined;
    const view = this.#cq;
    const found = {
      result: view.getUint32(at, true),
      sqHead: view.getUint16(at + 8, true),
      sqId: view.getUint16(at + 10, true),
      cid: last & 0xffff,
      phase: (last >>> 16) & 1,
      status: last >>> 17,
    };
    this.head = (this.head + 1) % this.completionEntries;
    if (this.head === 0) this.phase ^= 1;
    return found;
  }

  /** The next completion, when it comes; the device is told. */
  async take(): Promise<RawCompletion> {
    const end = performance.now() + PATIENCE;
    while (performance.now() < end) {
      const found = this.peek();
      if (found !== undefined) {
        this.ringHead();
        return found;
      }
      await turn();
    }
    throw new Error(`no completion in queue ${this.id}`);
  }

  /** So many completions. */
  async takeMany(count: number): Promise<RawCompletion[]> {
    const found: RawCompletion[] = [];
    while (found.length < count) found.push(await this.take());
    return found;
  }

  /** One command from beginning to end. */
  async run(command: RawCommand): Promise<RawCompletion> {
    const cid = this.put(command);
    this.ring();
    const done = await this.take();
    if (done.cid !== cid) throw new Error(`completion of ${done.cid} instead of ${cid}`);
    return done;
  }

  /** Its status alone. */
  async status(command: RawCommand): Promise<number> {
    return (await this.run(command)).status;
  }
}

/** An enabled controller. */
export class RawController {
  readonly fn: PciFunction;
  readonly bar: Bar;
  admin!: RawQueue;

  constructor(fn: PciFunction) {
    this.fn = fn;
    this.bar = fn.bar(0);
    fn.setMaster();
  }

  static async start(fn: PciFunction, entries = 32): Promise<RawController> {
    const controller = new RawController(fn);
    await controller.disable();
    await controller.enable(entries);
    return controller;
  }

  get status(): number {
    return this.bar.read32(REGISTER.status);
  }

  async disable(): Promise<void> {
    this.bar.write32(REGISTER.configuration, 0);
    await this.until((status) => (status & READY) === 0);
  }

  /** With a new admin queue. */
  async enable(entries = 32, configuration = ENABLE): Promise<void> {
    this.setAdminQueue(entries);
    this.bar.write32(REGISTER.configuration, configuration);
    await this.until((status) => (status & (READY | FATAL)) !== 0);
  }

  setAdminQueue(entries: number): void {
    this.admin = new RawQueue(this.fn, 0, entries);
    this.bar.write32(REGISTER.adminQueueAttributes, ((entries - 1) << 16) | (entries - 1));
    this.bar.write64(REGISTER.adminSubmissionQueue, this.admin.submissions.dmaAddress);
    this.bar.write64(REGISTER.adminCompletionQueue, this.admin.completions.dmaAddress);
  }

  async until(wanted: (status: number) => boolean): Promise<void> {
    const end = performance.now() + PATIENCE;
    while (performance.now() < end) {
      if (wanted(this.status)) return;
      await turn();
    }
    throw new Error(`the controller status stays 0x${this.status.toString(16)}`);
  }

  /** A pair of I/O queues. @param vector of its interrupts; none without */
  async createQueue(
    id: number,
    entries: number,
    { vector, completionEntries = entries }: { vector?: number; completionEntries?: number } = {},
  ): Promise<RawQueue> {
    const queue = new RawQueue(this.fn, id, entries, completionEntries);
    const statuses = [
      await this.admin.status({
        opcode: ADMIN.createCompletionQueue,
        prp1: queue.completions.dmaAddress,
        cdw10: ((completionEntries - 1) << 16) | id,
        cdw11: vector === undefined ? 1 : (vector << 16) | 3,
      }),
      await this.admin.status({
        opcode: ADMIN.createSubmissionQueue,
        prp1: queue.submissions.dmaAddress,
        cdw10: ((entries - 1) << 16) | id,
        cdw11: (id << 16) | 1,
      }),
    ];
    if (statuses.some((status) => status !== 0)) throw new Error(`queue ${id}: ${statuses.join(', ')}`);
    return queue;
  }

  /** 4096 bytes of Identify, into a page of its own. */
  async identify(cns: number, nsid = 0, cdw11 = 0): Promise<{ status: number; data: DataView<ArrayBuffer> }> {
    const page = this.fn.dma.allocCoherent(4096);
    const { status } = await this.admin.run({
      opcode: ADMIN.identify,
      nsid,
      prp1: page.dmaAddress,
      cdw10: cns,
      cdw11,
    });
    return { status, data: new DataView(page.buffer) };
  }
}

/** Characters of a field, without the spaces behind them. */
export function text(data: DataView, offset: number, length: number): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset + offset, length);
  return String.fromCharCode(...bytes).trimEnd();
}
