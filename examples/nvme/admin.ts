/** Admin commands (NVM Express Base 2.0, 5), as promises. */
import type { Interrupt } from '../../lib/index.ts';
import type { CommandQueue } from './command-queue.ts';
import { ADMIN, type Command, FEATURE, IDENTIFY, LOG } from './commands.ts';
import {
  type ControllerIdentity,
  IDENTIFY_BYTES,
  type NamespaceIdentity,
  parseController,
  parseNamespace,
  parseNamespaceList,
} from './identify.ts';
import {
  ERROR_BYTES,
  type ErrorEntry,
  HEALTH_BYTES,
  type HealthLog,
  parseErrors,
  parseHealth,
} from './log-pages.ts';
import type { TransferMemory } from './memory.ts';
import type { QueuePair } from './queue-pair.ts';

const ALL_NAMESPACES = 0xffff_ffff;
const CONTIGUOUS = 1;
const INTERRUPTS = 2;

/** Every method rejects with NvmeError if the controller refuses, and with the errors of `CommandQueue.execute`. */
export class AdminCommands {
  readonly #queue: CommandQueue;
  readonly #memory: TransferMemory;

  constructor(queue: CommandQueue, memory: TransferMemory) {
    this.#queue = queue;
    this.#memory = memory;
  }

  /** Identify, controller (5.15.2.1). */
  async identifyController(): Promise<ControllerIdentity> {
    return parseController(await this.#identify(IDENTIFY.controller, 0));
  }

  /** Identify, namespace (5.15.2.1). Namespaces are numbered from 1. */
  async identifyNamespace(namespace: number): Promise<NamespaceIdentity> {
    return parseNamespace(await this.#identify(IDENTIFY.namespace, namespace));
  }

  /** The identifiers of the existing namespaces, the first 1,024. */
  async activeNamespaces(): Promise<number[]> {
    return parseNamespaceList(await this.#identify(IDENTIFY.activeNamespaces, 0));
  }

  /** SMART / Health Information of the controller. */
  async health(): Promise<HealthLog> {
    return parseHealth(await this.logPage(LOG.health, HEALTH_BYTES));
  }

  /** The entries of the error log, the newest first. */
  async errors(entries: number): Promise<ErrorEntry[]> {
    return parseErrors(await this.logPage(LOG.errors, entries * ERROR_BYTES));
  }

  /** Bytes of a log page from its start, `length` a multiple of 4 (5.16). */
  logPage(page: number, length: number): Promise<Buffer> {
    const dwords = length / 4 - 1;
    const dword10 = page | ((dwords & 0xffff) << 16);
    return this.#receive(
      { opcode: ADMIN.getLogPage, namespace: ALL_NAMESPACES, dword10, dword11: dwords >>> 16 },
      `Get Log Page ${page}`,
      length,
    );
  }

  /** Asks for so many I/O queue pairs. Resolves with the number that the controller grants (5.27.1.5). */
  async setNumberOfQueues(wanted: number): Promise<number> {
    const granted = await this.execute(
      {
        opcode: ADMIN.setFeatures,
        dword10: FEATURE.numberOfQueues,
        dword11: (wanted - 1) | ((wanted - 1) << 16),
      },
      'Set Features, number of queues',
    );
    return Math.min(wanted, (granted & 0xffff) + 1, (granted >>> 16) + 1);
  }

  /**
   * Creates a completion queue and its submission queue (5.4, 5.5).
   * @param interrupt of its completions, or undefined: none are sent
   */
  async createQueues(
    { id, depth, submissions, completions }: QueuePair,
    interrupt?: Interrupt,
  ): Promise<void> {
    const size = id | (depth << 16);
    const vector = interrupt === undefined ? 0 : INTERRUPTS | (interrupt.vector << 16);
    await this.execute(
      {
        opcode: ADMIN.createCompletionQueue,
        data: { flags: 0, low1: completions.low, high1: completions.high, low2: 0, high2: 0 },
        dword10: size,
        dword11: CONTIGUOUS | vector,
      },
      `Create I/O Completion Queue ${id}`,
    );
    await this.execute(
      {
        opcode: ADMIN.createSubmissionQueue,
        data: { flags: 0, low1: submissions.low, high1: submissions.high, low2: 0, high2: 0 },
        dword10: size,
        dword11: CONTIGUOUS | (id << 16),
      },
      `Create I/O Submission Queue ${id}`,
    );
  }

  /** Deletes the submission queue first, which aborts its commands (5.6, 5.7). */
  async deleteQueues({ id }: QueuePair): Promise<void> {
    await this.execute(
      { opcode: ADMIN.deleteSubmissionQueue, dword10: id },
      `Delete I/O Submission Queue ${id}`,
    );
    await this.execute(
      { opcode: ADMIN.deleteCompletionQueue, dword10: id },
      `Delete I/O Completion Queue ${id}`,
    );
  }

  /** Resolves with true if the command was aborted, or will be (5.1). */
  async abort(queue: number, command: number): Promise<boolean> {
    const result = await this.execute({ opcode: ADMIN.abort, dword10: queue | (command << 16) }, 'Abort');
    return (result & 1) === 0;
  }

  /** Any admin command. Resolves with dword 0 of its completion. */
  execute(command: Command, what: string): Promise<number> {
    return this.#queue.execute(command, what);
  }

  #identify(structure: number, namespace: number): Promise<Buffer> {
    return this.#receive(
      { opcode: ADMIN.identify, namespace, dword10: structure },
      `Identify ${structure}`,
      IDENTIFY_BYTES,
    );
  }

  async #receive(command: Command, what: string, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    await this.#queue.execute(command, what, this.#memory.lend(bytes, 'from-device'));
    return bytes;
  }
}
