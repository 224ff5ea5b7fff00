/** The objects that hostile calls are made on: a simulated function with everything in it, made fresh for each call. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type AddressedMemory, openPci, type PciFunction } from '../../lib/index.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import {
  type DeviceBus,
  type DeviceModel,
  type FunctionDescription,
  type SimulatedSource,
  simulate,
} from '../../lib/sim/index.ts';
import { SimulatedPhysicalMemory } from '../../lib/sim/physical-memory.ts';

/** A device of plain memory that has every interrupt, capability and kind of BAR. */
export class PlainModel implements DeviceModel {
  readonly config: FunctionDescription = {
    vendorId: 0x1234,
    deviceId: 0x5678,
    intx: true,
    msi: 4,
    msix: { vectors: 4, bar: 2, table: 0, pending: 0x800 },
    express: true,
    functionLevelReset: true,
    errorReporting: true,
    serialNumber: 5n,
    power: { d1: true, d2: true },
    rom: new Uint8Array(2048),
  };
  readonly bars = [
    { index: 0, size: 65_536, is64Bit: true },
    { index: 2, size: 4096 },
    { index: 3, size: 16, kind: 'io' as const },
  ];
  bus!: DeviceBus;
  readonly #words = new Map<number, number>();

  attach(bus: DeviceBus): void {
    this.bus = bus;
  }

  reset(): void {
    this.#words.clear();
  }

  read(_bar: number, offset: number): number {
    return this.#words.get(offset) ?? 0;
  }

  write(_bar: number, offset: number, _width: number, value: number): void {
    this.#words.set(offset, value);
  }
}

export interface World {
  readonly source: SimulatedSource<PlainModel>;
  readonly fn: PciFunction;
  /** A folder that stands for the root of the file system; it has one UIO device. */
  readonly root: string;
  close(): void;
}

/** Debugged and not, since either has classes of its own. */
export async function openWorld(debug: boolean): Promise<World> {
  const source = simulate(new PlainModel());
  const fn = await openPci(source, { debug: debug ? { print: false } : false });
  return { source, fn, root: machineRoot(), close: () => fn.close() };
}

/** Memory with addresses, for devices without an IOMMU. */
export function physicalMemory(): AddressedMemory {
  const ranges = [{ start: 0x10_0000, end: 0xff_ffff }];
  const space = new SimulatedAddressSpace({ pageSize: 4096, ranges });
  return new SimulatedPhysicalMemory({ heap: new HeapMemory({ pageSize: 4096 }), addressSpace: space });
}

let shared: string | undefined;

function machineRoot(): string {
  if (shared !== undefined) return shared;
  const root = mkdtempSync(join(tmpdir(), 'userdma-border-'));
  process.on('exit', () => rmSync(root, { recursive: true }));
  const file = (path: string, content: string | Uint8Array): void => {
    mkdirSync(dirname(root + path), { recursive: true });
    writeFileSync(root + path, content);
  };
  const uio = '/sys/class/uio/uio0';
  file(`${uio}/name`, 'board\n');
  file(`${uio}/event`, '0\n');
  for (const [name, text] of [
    ['addr', '0x43c00000'],
    ['size', '0x1000'],
    ['offset', '0x0'],
    ['name', ''],
  ] as const) {
    file(`${uio}/maps/map0/${name}`, `${text}\n`);
  }
  file('/dev/uio0', new Uint8Array(4096));
  shared = root;
  return root;
}
