/**
 * A u-dma-buf without its module. A tree of files replaces /sys and /dev, and an ordinary file replaces the memory.
 * Writing such files has no effect, so a machine whose device does not see the CPU's caches has two files:
 *
 *      cached mapping        file `cache`     the bytes in the CPU's cache
 *      uncached mapping      file `memory`    the bytes that the device reads and writes
 *      SyncChannel           moves lines between the two, as arm64 does (see lib/sim/cache.ts)
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { DmaDirection } from '../../lib/direction.ts';
import { UDmaBufMemory } from '../../lib/memory/u-dma-buf.ts';
import { openUDmaBuf } from '../../lib/memory/u-dma-buf-open.ts';
import type { SyncChannel } from '../../lib/memory/u-dma-buf-sync.ts';
import type { Addon, Handle } from '../../lib/native/addon.ts';
import { loadAddon } from '../../lib/native/load.ts';

/** The attributes of a new buffer, as version 5.5 of the module prints them. */
export const ATTRIBUTES = {
  driver_version: '5.5.0',
  phys_addr: '0x0000000000100000',
  size: '1048576',
  sync_mode: '1',
  sync_offset: '0x0',
  sync_size: '1048576',
  sync_direction: '0',
  sync_owner: '0',
  sync_for_cpu: '0',
  sync_for_device: '0',
  dma_coherent: '1',
} as const;

export type Attributes = Partial<Record<keyof typeof ATTRIBUTES | 'ioctl_version', string | undefined>>;

/** Makes the node and the attributes of a u-dma-buf. It skips undefined attributes. Returns the attributes' folder. */
export function plant(
  root: string,
  name: string,
  attributes: Attributes = {},
  className = 'u-dma-buf',
): string {
  const folder = join(root, 'sys/class', className, name);
  mkdirSync(folder, { recursive: true });
  for (const [attribute, text] of Object.entries({ ...ATTRIBUTES, ...attributes })) {
    if (text !== undefined) writeFileSync(join(folder, attribute), `${text}\n`);
  }
  const size = Number(attributes.size ?? ATTRIBUTES.size);
  plantFile(join(root, 'dev', name), Number.isInteger(size) ? size : 0);
  return folder;
}

/** Makes a file of `size` zeros that takes no room until it is written. */
function plantFile(path: string, size: number): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '');
  truncateSync(path, size);
}

const NAME = 'udmabuf0';
const LINE = 64;
const PAGE = 4096;
/** The value of memory before the CPU's caches were first written back to it. */
const POISON = 0xdb;

export interface MachineOptions {
  readonly coherent: boolean;
  /** Device address of the buffer. */
  readonly address: number;
  /** Bytes, whole pages. */
  readonly size: number;
}

/** A file in memory and all its bytes as an ArrayBuffer. The file is open as long as its region. */
interface MemoryFile {
  readonly region: Handle;
  readonly path: string;
  readonly buffer: ArrayBuffer;
}

/** A machine with one u-dma-buf, and its device's side of it. */
export class UDmaBufMachine {
  /** The buffer that the driver opens. */
  readonly memory: UDmaBufMemory;
  /** All of the buffer as the device sees it. */
  readonly deviceMemory: ArrayBuffer;
  readonly #addon: Addon = loadAddon();
  readonly #root = mkdtempSync(join(tmpdir(), 'userdma-u-dma-buf-'));
  readonly #files: MemoryFile[] = [];

  constructor({ coherent, address, size }: MachineOptions) {
    const memory = this.#newFile(size);
    this.deviceMemory = memory.buffer;
    this.memory = coherent
      ? this.#openCoherent(address, size, memory)
      : this.#openIncoherent(address, size, memory, this.#newFile(size));
  }

  close(): void {
    this.memory.close();
    for (const { region } of this.#files) this.#addon.regionRevoke(region);
    rmSync(this.#root, { recursive: true });
  }

  #openCoherent(address: number, size: number, { path }: MemoryFile): UDmaBufMemory {
    plant(this.#root, NAME, { phys_addr: `0x${address.toString(16)}`, size: `${size}` });
    const node = join(this.#root, 'dev', NAME);
    rmSync(node);
    symlinkSync(path, node);
    return openUDmaBuf(NAME, { root: this.#root });
  }

  #openIncoherent(address: number, size: number, memory: MemoryFile, cache: MemoryFile): UDmaBufMemory {
    return new UDmaBufMemory(this.#addon, {
      device: NAME,
      address,
      size,
      control: this.#map(cache, PAGE),
      coherent: this.#map(memory, size),
      cached: this.#map(cache, size),
      lineSize: LINE,
      channel: new LineSync(new Uint8Array(cache.buffer), new Uint8Array(memory.buffer)),
    });
  }

  #newFile(size: number): MemoryFile {
    const region = this.#addon.regionCreate(size, false);
    const path = `/proc/self/fd/${this.#addon.regionFd(region)}`;
    const buffer = this.#addon.regionCarve(region, 0, size) as ArrayBuffer;
    const file = { region, path, buffer };
    this.#files.push(file);
    return file;
  }

  #map({ path }: MemoryFile, size: number): Handle {
    return this.#addon.uDmaBufOpen(path, size, false, false);
  }
}

/**
 * Cache maintenance between two copies of the buffer. A line is dirty if the CPU changed it since the copies last
 * agreed.
 */
class LineSync implements SyncChannel {
  readonly #cpu: Uint8Array;
  readonly #memory: Uint8Array;
  readonly #clean: Uint8Array;
  readonly #touched: Uint8Array;

  constructor(cpu: Uint8Array, memory: Uint8Array) {
    this.#cpu = cpu;
    this.#memory = memory;
    this.#clean = new Uint8Array(cpu.length);
    this.#touched = new Uint8Array(cpu.length / PAGE);
  }

  sync(offset: number, size: number, direction: DmaDirection, owner: 'cpu' | 'device'): void {
    const start = offset - (offset % LINE);
    const end = Math.ceil((offset + size) / LINE) * LINE;
    this.#poison(start, end);
    if (owner === 'device') {
      this.#writeBack(start, end);
    } else if (direction !== 'to-device') {
      // A line that also has bytes outside the range is written back before it is dropped.
      if (start < offset) this.#writeBack(start, start + LINE);
      if (offset + size < end) this.#writeBack(end - LINE, end);
      const bytes = this.#memory.subarray(start, end);
      this.#cpu.set(bytes, start);
      this.#clean.set(bytes, start);
    }
  }

  close(): void {}

  #writeBack(start: number, end: number): void {
    if (Buffer.compare(this.#cpu.subarray(start, end), this.#clean.subarray(start, end)) === 0) return;
    for (let line = start; line < end; line += LINE) {
      const bytes = this.#cpu.subarray(line, line + LINE);
      if (Buffer.compare(bytes, this.#clean.subarray(line, line + LINE)) === 0) continue;
      this.#memory.set(bytes, line);
      this.#clean.set(bytes, line);
    }
  }

  /** Fills pages that are used for the first time with bytes that no test takes for data or for zeros. */
  #poison(start: number, end: number): void {
    for (let page = Math.floor(start / PAGE); page * PAGE < end; page++) {
      if (this.#touched[page] === 1) continue;
      this.#touched[page] = 1;
      for (const copy of [this.#cpu, this.#memory, this.#clean])
        copy.fill(POISON, page * PAGE, (page + 1) * PAGE);
    }
  }
}
