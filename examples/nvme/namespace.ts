/** A namespace: blocks that are read and written, by promises (NVM Command Set 1.0). */
import { DmaError } from '../../lib/index.ts';
import type { CommandQueue } from './command-queue.ts';
import { type Command, IO } from './commands.ts';
import type { ControllerIdentity, NamespaceIdentity } from './identify.ts';
import { isView, type Lent, type Payload, type TransferMemory } from './memory.ts';
import { cut, payloadBytes, Transfer, TransferCommand } from './transfer.ts';

/** The part of the controller that a namespace needs. */
export interface NamespaceHost {
  readonly identity: ControllerIdentity;
  readonly memory: TransferMemory;
  /** Bytes that one command may transfer. */
  readonly maxTransfer: number;
  /** The I/O queue for the next command. */
  nextQueue(): CommandQueue;
}

/** Options of a read or a write. */
export interface TransferOptions {
  /** Default: the controller's I/O queues in turn. */
  readonly queue?: CommandQueue | undefined;
}

/** Blocks of a Dataset Management range (NVM Command Set 1.0, 3.2.3). */
const RANGE_BLOCKS = 2 ** 32 - 1;
const RANGES = 256;
const RANGE_BYTES = 16;
const DEALLOCATE = 1 << 2;
/** The most blocks of one command: their number has 16 bits, and 0 means 1. */
const COMMAND_BLOCKS = 65_536;
/** LBADS is 9 or more for a format that exists (NVM Command Set 1.0, figure 98). */
const SHORTEST_BLOCK = 512;

/**
 * All methods reject with DmaError EINVAL for a range that does not exist, NvmeError if the controller refuses,
 * ETIMEDOUT if it takes too long, ECANCELED if it was reset meanwhile, and ENODEV after it is closed or gone. The
 * caller may use the memory again only when the promise has settled.
 */
export class Namespace {
  /** The identifier, 1 and up. */
  readonly id: number;
  readonly identity: NamespaceIdentity;
  readonly #host: NamespaceHost;

  /**
   * @throws DmaError EINVAL the namespace does not exist now · EOPNOTSUPP its blocks have metadata, are shorter than
   *   512 bytes, or longer than a command
   */
  constructor(host: NamespaceHost, id: number, identity: NamespaceIdentity) {
    checkIdentity(host, id, identity);
    this.#host = host;
    this.id = id;
    this.identity = identity;
  }

  /** Bytes of a block. */
  get blockSize(): number {
    return this.identity.blockSize;
  }

  /** The number of blocks. */
  get blocks(): number {
    return this.identity.blocks;
  }

  /** Fills a view, or several in turn, from block `lba` on: whole blocks, any memory. */
  read(lba: number, into: Payload, options: TransferOptions = {}): Promise<void> {
    return this.#transfer(IO.read, lba, into, options);
  }

  /** Writes a view, or several in turn, from block `lba` on: whole blocks, any memory. */
  write(lba: number, from: Payload, options: TransferOptions = {}): Promise<void> {
    return this.#transfer(IO.write, lba, from, options);
  }

  /** Makes all earlier writes survive a loss of power. */
  async flush(): Promise<void> {
    await this.#execute({ opcode: IO.flush, namespace: this.id }, 'Flush');
  }

  /** Writes zeros without transferring them. @throws DmaError EOPNOTSUPP the controller lacks the command */
  async writeZeroes(lba: number, blocks: number): Promise<void> {
    this.#checkOffered(this.#host.identity.writeZeroes, 'Write Zeroes');
    this.#checkRange(lba, blocks);
    const most = Math.min(COMMAND_BLOCKS, Math.floor(this.#host.maxTransfer / this.blockSize));
    const starts = Array.from({ length: Math.ceil(blocks / most) }, (_, i) => lba + i * most);
    await this.#all(
      starts.map((start) => {
        const count = Math.min(most, lba + blocks - start);
        return this.#execute(
          { opcode: IO.writeZeroes, namespace: this.id, ...at(start), dword12: count - 1 },
          'Write Zeroes',
        );
      }),
    );
  }

  /**
   * Tells the controller that blocks are not needed any more (Dataset Management, deallocate). The controller decides
   * what they read as afterwards. @throws DmaError EOPNOTSUPP the controller lacks the command
   */
  async trim(lba: number, blocks: number): Promise<void> {
    this.#checkOffered(this.#host.identity.datasetManagement, 'Dataset Management');
    this.#checkRange(lba, blocks);
    for (let from = lba; from < lba + blocks; from += RANGES * RANGE_BLOCKS) {
      await this.#trim(from, Math.min(lba + blocks - from, RANGES * RANGE_BLOCKS));
    }
  }

  #transfer(opcode: number, lba: number, payload: Payload, options: TransferOptions): Promise<void> {
    const { blockSize } = this;
    const { memory } = this.#host;
    try {
      this.#checkPayload(payload);
      this.#checkRange(lba, payloadBytes(payload) / blockSize);
      if (!isView(payload) && !memory.takesList(payload))
        return this.#gathered(opcode, lba, payload, options);
    } catch (error) {
      return Promise.reject(error);
    }
    const size = Math.min(this.#host.maxTransfer, COMMAND_BLOCKS * blockSize, memory.longest(payload));
    const transfer = new Transfer();
    const commands: TransferCommand[] = [];
    let start = lba;
    for (const part of cut(payload, size - (size % blockSize))) {
      const blocks = payloadBytes(part) / blockSize;
      const range = { opcode, namespace: this.id, lba: start, blocks };
      commands.push(new TransferCommand(transfer, memory, range, part));
      start += blocks;
    }
    transfer.start(commands, options.queue ?? this.#host.nextQueue());
    return transfer.done;
  }

  /** If the controller cannot take a list as it is, the list goes through one buffer. */
  async #gathered(
    opcode: number,
    lba: number,
    views: readonly ArrayBufferView[],
    options: TransferOptions,
  ): Promise<void> {
    const joined = new Uint8Array(payloadBytes(views));
    if (opcode === IO.write) copyAll(views, joined, true);
    await this.#transfer(opcode, lba, joined, options);
    if (opcode === IO.read) copyAll(views, joined, false);
  }

  async #trim(lba: number, blocks: number): Promise<void> {
    const count = Math.ceil(blocks / RANGE_BLOCKS);
    const ranges = Buffer.alloc(count * RANGE_BYTES);
    for (let i = 0; i < count; i++) {
      ranges.writeUInt32LE(Math.min(RANGE_BLOCKS, blocks - i * RANGE_BLOCKS), i * RANGE_BYTES + 4);
      ranges.writeBigUInt64LE(BigInt(lba + i * RANGE_BLOCKS), i * RANGE_BYTES + 8);
    }
    await this.#execute(
      { opcode: IO.datasetManagement, namespace: this.id, dword10: count - 1, dword11: DEALLOCATE },
      'Dataset Management',
      this.#host.memory.lend(ranges, 'to-device'),
    );
  }

  /** Settles after all commands have ended. So none is under way when the caller sees the first error. */
  async #all(commands: readonly Promise<unknown>[]): Promise<void> {
    for (const result of await Promise.allSettled(commands)) {
      if (result.status === 'rejected') throw result.reason;
    }
  }

  #execute(command: Command, what: string, lent?: Lent): Promise<number> {
    return this.#host.nextQueue().execute(command, `${what} of namespace ${this.id}`, lent);
  }

  #checkPayload(payload: Payload): void {
    if (!isView(payload) && !(Array.isArray(payload) && payload.every(isView))) {
      throw new DmaError('EINVAL', 'there is no memory to transfer', {
        remedy: 'pass a view, or an array of views',
      });
    }
    const bytes = payloadBytes(payload);
    if (bytes > 0 && bytes % this.blockSize === 0) return;
    throw new DmaError('EINVAL', `${bytes} bytes are not whole blocks`, {
      remedy: `pass a multiple of ${this.blockSize} bytes`,
    });
  }

  #checkRange(lba: number, blocks: number): void {
    const whole = Number.isSafeInteger(lba) && Number.isSafeInteger(blocks);
    if (whole && lba >= 0 && blocks >= 1) return;
    throw new DmaError('EINVAL', `no ${String(blocks)} blocks at ${String(lba)}`, {
      remedy: 'pass whole numbers: the first block, and one block or more',
    });
  }

  #checkOffered(offered: boolean, what: string): void {
    if (offered) return;
    throw new DmaError('EOPNOTSUPP', `the controller has no ${what}`, { remedy: 'write the blocks instead' });
  }
}

/** If the namespace does not exist now, all fields are zero (Base 2.0, 5.17.2.1). */
function checkIdentity(host: NamespaceHost, id: number, identity: NamespaceIdentity): void {
  const { blocks, blockSize, metadataSize } = identity;
  if (blocks === 0) {
    throw new DmaError('EINVAL', `there is no namespace ${id}`, { remedy: 'use one of namespaces()' });
  }
  if (metadataSize !== 0) {
    throw new DmaError('EOPNOTSUPP', `the blocks of namespace ${id} have metadata`, {
      remedy: 'format it without',
    });
  }
  if (blockSize < SHORTEST_BLOCK) {
    throw new DmaError('EOPNOTSUPP', `the blocks of namespace ${id} have ${blockSize} bytes`, {
      remedy: `format it with blocks of ${SHORTEST_BLOCK} bytes or more`,
    });
  }
  const most = Math.min(host.maxTransfer, host.memory.dma.limits.maxBounceSize);
  if (blockSize <= most) return;
  throw new DmaError('EOPNOTSUPP', `the blocks of namespace ${id} have ${blockSize} bytes`, {
    remedy: `format it with blocks of up to ${most} bytes`,
  });
}

function at(lba: number): { dword10: number; dword11: number } {
  return { dword10: lba >>> 0, dword11: Math.floor(lba / 2 ** 32) };
}

/** Copies each view to its place in `joined`, or from there. */
function copyAll(views: readonly ArrayBufferView[], joined: Uint8Array, to: boolean): void {
  let at = 0;
  for (const view of views) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const part = joined.subarray(at, at + bytes.length);
    if (to) part.set(bytes);
    else bytes.set(part);
    at += bytes.length;
  }
}
