/**
 * The worlds in which a DmaDevice is tested: simulations, or the devices of the virtual machine. A world also has the
 * device's side, which reads and writes memory at any address as a device does.
 */

import { Edu } from '../../examples/edu/driver.ts';
import { createDevice } from '../../lib/debug/create.ts';
import {
  type BounceOptions,
  type DmaDevice,
  dmaBitMask,
  openPci,
  type PciFunction,
} from '../../lib/index.ts';
import { FaultLog } from '../../lib/iommu/fault.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import type { OpenedFunction, OpenOptions, PciSource } from '../../lib/pci/transport.ts';
import { SimulatedBus } from '../../lib/sim/bus.ts';
import { type Fault, type SimulateOptions, simulate } from '../../lib/sim/index.ts';
import { SimulatedTransport } from '../../lib/sim/transport.ts';
import { Master } from '../master.ts';
import { whyNoAddon } from '../native/support.ts';
import { UDmaBufMachine } from './u-dma-buf-fixture.ts';

/** Foreign memory of so many bytes or more is mapped in place, if the world can do that. */
export const COPYBREAK = 32 * 1024;

/** A device, and its side of the bus. */
export interface OpenDevice {
  readonly dma: DmaDevice;
  /** The accesses of the device that were refused. Hardware does not report them. */
  readonly faults: readonly Fault[];
  /** The device reads memory. */
  read(address: bigint, length: number): Promise<Uint8Array>;
  /** The device writes memory. */
  write(address: bigint, bytes: Uint8Array): Promise<void>;
}

/** A world that was opened: both sides of the bus. */
export interface OpenWorld extends OpenDevice, Disposable {
  readonly fn: PciFunction;
  /**
   * A second device of the same kind. It is in the same domain or, without an IOMMU, in a machine of its own. In a
   * world with one device it is that device.
   */
  openSecond(): Promise<OpenDevice>;
}

export interface World {
  readonly name: string;
  readonly simulated: boolean;
  /** True if there is an IOMMU: the library chooses addresses, and the device reaches mapped memory only. */
  readonly translated: boolean;
  readonly coherent: boolean;
  /** True if everything is bounced. */
  readonly forced: boolean;
  /** True if bounced mappings are isolated from each other (isolation 'strict'). */
  readonly strict: boolean;
  /** The bits of the streaming mask and of the coherent mask. If they differ, streaming mappings do not reach own memory. */
  readonly streamingBits: number;
  readonly coherentBits: number;
  /** The number of address bits that reach all memory. */
  readonly requiredBits: number;
  /** Opens the function without changes: default masks, no bus mastering. */
  openFunction(): Promise<PciFunction>;
  /** Opens a bus master with the masks of this world. @param isolation default: the isolation of the world */
  open(isolation?: Isolation): Promise<OpenWorld>;
}

type Isolation = BounceOptions['isolation'];

/** True if own memory is above the streaming mask. */
export function isNarrow({ streamingBits, coherentBits }: World): boolean {
  return streamingBits < coherentBits;
}

/** The way of a mapping in this world. */
export function wayOf(world: World, kind: 'own' | 'foreign', size: number): string {
  if (world.forced) return 'bounced';
  if (kind === 'own') return isNarrow(world) ? 'bounced' : 'arithmetic';
  return world.translated && size >= COPYBREAK ? 'pinned' : 'bounced';
}

interface Traits extends Pick<World, 'forced' | 'streamingBits' | 'coherentBits'> {
  /** True if the device has dma-debug. Default: the default of the library. */
  readonly debug?: boolean;
  /** Bytes of the bounce buffer. Default: the default of the library. */
  readonly bounceTotal?: number;
  /** True if bounced mappings are isolated. Default: the default of the library. */
  readonly isolation?: Isolation;
}

const PLAIN: Traits = { forced: false, streamingBits: 32, coherentBits: 32 };
const FORCED: Traits = { ...PLAIN, forced: true };
const NARROW: Traits = { ...PLAIN, streamingBits: 28, coherentBits: 40 };

function openOptions({ forced, debug, bounceTotal, isolation }: Traits) {
  const bounce = {
    force: forced,
    ...(bounceTotal !== undefined && { total: bounceTotal }),
    ...(isolation !== undefined && { isolation }),
  };
  return { streaming: { copybreak: COPYBREAK, bounce }, ...(debug === false && { debug }) };
}

function isolated(traits: Traits, isolation: Isolation = traits.isolation): Traits {
  return isolation === undefined ? traits : { ...traits, isolation };
}

function setMasks({ dma }: PciFunction, { streamingBits, coherentBits }: Traits): void {
  dma.setMask(dmaBitMask(streamingBits));
  dma.setCoherentMask(dmaBitMask(coherentBits));
}

/** A machine with a Master plugged in. */
interface MasterSource extends PciSource {
  readonly model: Master;
  readonly faults: readonly Fault[];
}

/** @param makeSecond plugs a second device in; undefined if there is none */
async function openMaster(
  source: MasterSource,
  traits: Traits,
  makeSecond?: () => MasterSource,
): Promise<OpenWorld> {
  const fn = await openPci(source, openOptions(traits));
  const opened = [fn];
  const first = startMaster(fn, source, traits);
  return {
    ...first,
    fn,
    async openSecond() {
      if (makeSecond === undefined) return first;
      const second = makeSecond();
      const { domain } = fn.dma;
      const other = await openPci(second, {
        ...openOptions(traits),
        ...(domain !== undefined && { domain }),
      });
      opened.push(other);
      return startMaster(other, second, traits);
    },
    [Symbol.dispose]: () => {
      for (const one of opened.reverse()) one.close();
    },
  };
}

function startMaster(fn: PciFunction, { model, faults }: MasterSource, traits: Traits): OpenDevice {
  setMasks(fn, traits);
  fn.setMaster();
  const { bus } = model;
  return {
    dma: fn.dma,
    faults,
    read: async (address, length) => {
      const bytes = new Uint8Array(length);
      bus.dmaRead(address, bytes);
      return bytes;
    },
    write: async (address, bytes) => void bus.dmaWrite(address, bytes),
  };
}

function simulation(name: string, traits: Traits, options: SimulateOptions = {}): World {
  const source = () => simulate(new Master(), options);
  const second = () => simulate(new Master(), { ...options, address: '0000:00:11.0' });
  return {
    ...traits,
    name: `simulated, ${name}`,
    strict: traits.isolation === 'strict',
    simulated: true,
    translated: options.iommu !== false,
    coherent: options.coherent !== false,
    requiredBits: options.iommu === false ? 35 : 32,
    openFunction: () => openPci(source(), openOptions(traits)),
    open: (isolation) => openMaster(source(), isolated(traits, isolation), second),
  };
}

/** The address of the u-dma-buf. Half of it is above 16 MiB, so that a mask of 24 bits does not reach all of it. */
const BUFFER = { address: 2 ** 20, size: 32 * 2 ** 20, bits: 26 };
/** The traits of a board. The bounce buffer takes its memory from the u-dma-buf, too, so it is smaller there. */
const ON_BOARD: Traits = { ...PLAIN, bounceTotal: BUFFER.size / 2 };

/** A board whose device reaches one u-dma-buf and nothing else, by its physical address. */
class Board implements MasterSource {
  readonly model = new Master();
  readonly faults: readonly Fault[];
  readonly #log = new FaultLog();
  readonly #coherent: boolean;

  constructor(coherent: boolean) {
    this.#coherent = coherent;
    this.faults = this.#log.list;
  }

  open({ streaming, debug }: OpenOptions): OpenedFunction {
    const { address, size } = BUFFER;
    const machine = new UDmaBufMachine({ coherent: this.#coherent, address, size });
    const { memory, deviceMemory } = machine;
    const addressSpace = new SimulatedAddressSpace({ faults: this.#log });
    addressSpace.map(address, deviceMemory, 0, size, 'read-write');
    const dma = createDevice({ ...streaming, name: 'board', memory, cache: memory.cache }, debug, true);
    const bus = new SimulatedBus(this.model, this.#log);
    return { dma, transport: new BoardTransport({ address: 'board', bus, addressSpace }, machine) };
  }
}

class BoardTransport extends SimulatedTransport {
  readonly #machine: UDmaBufMachine;

  constructor(options: ConstructorParameters<typeof SimulatedTransport>[0], machine: UDmaBufMachine) {
    super(options);
    this.#machine = machine;
  }

  override close(): void {
    super.close();
    this.#machine.close();
  }
}

function board(name: string, coherent: boolean): World {
  return {
    ...ON_BOARD,
    name: `u-dma-buf, ${name}`,
    strict: false,
    simulated: true,
    translated: false,
    coherent,
    requiredBits: BUFFER.bits,
    openFunction: () => openPci(new Board(coherent), openOptions(ON_BOARD)),
    open: (isolation) => openMaster(new Board(coherent), isolated(ON_BOARD, isolation)),
  };
}

/** The address at which the DMA engine of the edu device sees its own memory. */
const DEVICE_MEMORY = 0x40000n;
const FROM_DEVICE = 2;
/** The most bytes that one transfer moves. No transfer crosses a multiple of it. */
const PIECE = 2048;

/**
 * [start, end) of the pieces that the edu device moves, one transfer each. No piece starts at the last byte of a page:
 * QEMU's virtio-iommu may look up the next page for it (7.2; virtio_iommu_translate asks for two bytes).
 */
function pieces(address: bigint, length: number): [number, number][] {
  const lead = Number(address % BigInt(PIECE));
  const count = Math.ceil((lead + length) / PIECE);
  return Array.from({ length: count }, (_, i) => [
    Math.max(i * PIECE - lead, 0),
    Math.min((i + 1) * PIECE - lead, length),
  ]);
}

function isLastOfPage(address: bigint): boolean {
  return address % 4096n === 4095n;
}

async function read(edu: Edu, from: bigint, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (const [start, end] of pieces(from, length)) {
    await edu.transfer(from + BigInt(start), DEVICE_MEMORY, end - start, 0);
    bytes.set(await edu.read(end - start), start);
  }
  return bytes;
}

async function write(edu: Edu, to: bigint, bytes: Uint8Array): Promise<void> {
  for (const [start, end] of pieces(to, bytes.length)) {
    await edu.write(bytes.subarray(start, end));
    await edu.transfer(DEVICE_MEMORY, to + BigInt(start), end - start, FROM_DEVICE);
  }
}

function hardware(name: string, traits: Traits, address: string): World {
  const openFunction = () => openPci(address, openOptions(traits));
  const open = async (isolation?: Isolation): Promise<OpenWorld> => {
    const fn = await openPci(address, openOptions(isolated(traits, isolation)));
    const edu = new Edu(fn, { dmaBits: traits.coherentBits });
    setMasks(fn, traits);
    const device: OpenDevice = {
      dma: fn.dma,
      faults: [],
      read: async (from, length) => {
        if (isLastOfPage(from)) return (await read(edu, from - 1n, length + 1)).subarray(1);
        return read(edu, from, length);
      },
      write: async (to, bytes) => {
        if (!isLastOfPage(to)) return write(edu, to, bytes);
        const before = await read(edu, to - 1n, 1);
        return write(edu, to - 1n, new Uint8Array([...before, ...bytes]));
      },
    };
    return { ...device, fn, openSecond: async () => device, [Symbol.dispose]: () => edu.close() };
  };
  return {
    ...traits,
    name: `${process.env.USERDMA_VM ?? 'vfio'}, ${name}`,
    strict: false,
    simulated: false,
    translated: true,
    coherent: true,
    requiredBits: 32,
    openFunction,
    open,
  };
}

const simulations: readonly World[] = [
  simulation('IOMMU', PLAIN),
  simulation('IOMMU, incoherent', PLAIN, { coherent: false }),
  simulation('direct', PLAIN, { iommu: false }),
  simulation('direct, incoherent', PLAIN, { iommu: false, coherent: false }),
  simulation('IOMMU, narrow mask', NARROW),
  simulation('direct, narrow mask', NARROW, { iommu: false }),
  simulation('direct, incoherent, narrow mask', NARROW, { iommu: false, coherent: false }),
  simulation('IOMMU, forced bounce', FORCED),
  simulation('IOMMU, incoherent, forced bounce', FORCED, { coherent: false }),
  simulation('direct, forced bounce', FORCED, { iommu: false }),
  simulation('IOMMU, strict', { ...PLAIN, isolation: 'strict' }),
  simulation(
    'IOMMU, incoherent, forced bounce, strict',
    { ...FORCED, isolation: 'strict' },
    { coherent: false },
  ),
  simulation('IOMMU, without dma-debug', { ...PLAIN, debug: false }),
  simulation(
    'direct, incoherent, without dma-debug',
    { ...PLAIN, debug: false },
    { iommu: false, coherent: false },
  ),
];

const edu = process.env.USERDMA_TEST_EDU;
const EDU_BITS = { streamingBits: 28, coherentBits: 28 };

/** Worlds with forced bouncing run on one machine only: they do not depend on the IOMMU, and transfers take long. */
function hardwareWorlds(address: string): readonly World[] {
  const plain = hardware('type1', { ...PLAIN, ...EDU_BITS }, address);
  if (process.env.USERDMA_VM !== 'virtio-iommu') return [plain];
  return [plain, hardware('type1, forced bounce', { ...FORCED, ...EDU_BITS }, address)];
}

/** Worlds whose memory the addon maps. The addon is for Linux. */
const boards = whyNoAddon === undefined ? [board('coherent', true), board('incoherent', false)] : [];

export const worlds: readonly World[] = edu === undefined ? [...simulations, ...boards] : hardwareWorlds(edu);
