/**
 * The public functions: for each a way to call it rightly. The test replaces one argument, or one option, after the other by
 * hostile values. It finds functions by itself and fails for one that has no entry here.
 */
import * as main from '../../lib/index.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import * as sim from '../../lib/sim/index.ts';
import * as testing from '../../lib/testing/index.ts';
import { PlainModel, physicalMemory, type World } from './world.ts';

/** Right arguments, made fresh. Plain objects among them are options: each of theirs is replaced, too. */
export type Arguments = (world: World) => readonly unknown[];

export interface Subject {
  /** An object whose methods are called, made fresh for each call. */
  make(world: World): unknown;
  readonly calls: Readonly<Record<string, Arguments>>;
  /** Whether a device that is debugged has a class of its own for it. */
  readonly debugged?: true;
  /** Methods that only the library calls. */
  readonly internal?: readonly string[];
}

const none: Arguments = () => [];
const bytes = () => new Uint8Array(4096);
const at =
  (...values: readonly unknown[]): Arguments =>
  () =>
    values;
const debugOptions = () => ({
  entries: 100,
  allErrors: true,
  numErrors: 1,
  driverFilter: 'driver',
  stacks: 'all',
  contents: true,
  print: false,
});
const streaming = () => ({ bounce: { total: 65_536, maxMapping: 2048, force: false }, copybreak: 4096 });

/** Exported functions and classes, by module. */
export const EXPORTS: Readonly<Record<string, Readonly<Record<string, Arguments>>>> = {
  main: {
    DmaDevice: () => [{ name: 'device', memory: physicalMemory(), ...streaming() }],
    DmaError: at('EINVAL', 'text', { remedy: 'do', syscall: 'ioctl', cause: undefined }),
    DmaHeapMemory: (world) => [{ heap: 'system', root: world.root }],
    MemfdMemory: () => [{ hugepages: false, numaNode: 0 }],
    PhysicalHugepages: () => [{ below: 2 ** 32, numaNode: 0 }],
    RingIndex: () => [16, { bits: 16 }],
    dmaRmb: none,
    dmaWmb: none,
    mb: none,
    dmaBitMask: at(32),
    dmaHeaps: (world) => [{ root: world.root }],
    exportDmaBuf: (world) => [world.fn.dma.allocCoherent(4096).bytes, {}],
    readSriov: (world) => ['ffff:ff:1f.7', { root: world.root }],
    enableSriov: (world) => ['ffff:ff:1f.7', 2, { root: world.root }],
    disableSriov: (world) => ['ffff:ff:1f.7', { root: world.root }],
    exportBar: (world) => [world.fn.bar(0), { offset: 0, size: 4096 }],
    findPci: (world) => [0x1234, 0x5678, world.root],
    // An address that no machine has: a wrong root means this machine's own /sys.
    bindPci: (world) => [
      'ffff:ff:1f.7',
      { driver: 'vfio-pci', force: false, user: 'root', persist: false, root: world.root },
    ],
    unbindPci: (world) => ['ffff:ff:1f.7', { root: world.root }],
    describePci: (world) => ['ffff:ff:1f.7', world.root],
    diagnoseMachine: (world) => [{ address: 'ffff:ff:1f.7', root: world.root, memory: 4096, hugePages: 0 }],
    selfTest: (world) => [world.fn],
    listPci: (world) => [world.root],
    importDmaBuf: at(1_000_000),
    openPci: () => [
      sim.simulate(new PlainModel()),
      {
        fallback: () => sim.simulate(new PlainModel()),
        hugepages: false,
        numaNode: 0,
        vfToken: '00000000-0000-4000-8000-000000000000',
        streaming: streaming(),
        debug: debugOptions(),
        domain: undefined,
        releaseGrace: 5,
      },
    ],
    openPciUnsafe: (world) => [
      'ffff:ff:1f.7',
      { memory: physicalMemory(), cache: undefined, streaming: streaming(), debug: false, root: world.root },
    ],
    openUDmaBuf: (world) => ['udmabuf0', { root: world.root }],
    openUio: (world) => [
      'uio0',
      { dma: { memory: physicalMemory(), ...streaming() }, debug: debugOptions(), root: world.root },
    ],
    struct: () => [8, { field: main.u32(0) }],
    ...Object.fromEntries(
      ['u8', 'u16', 'u16be', 'u32', 'u32be', 'u64', 'u64be'].map((name) => [name, at(0)]),
    ),
  },
  sim: {
    EduModel: () => [{ dmaBits: 28, transferTime: 100, factorialTime: 10 }],
    FaultInjector: () => [{ seed: 5 }],
    NvmeModel: () => [
      {
        namespaces: [],
        ioQueues: 2,
        doorbellStride: 0,
        maxTransfer: 7,
        latency: 0,
        serial: 'serial',
      },
    ],
    NvmeNamespace: () => [1, { capacity: 4096, blockSize: 512 }],
    describeFault: at({ address: 0n, size: 1, access: 'read', reason: 'none' }),
    simulate: () => [
      new PlainModel(),
      {
        address: '0000:00:11.0',
        iommu: true,
        ranges: [{ start: 0, end: 0xffff_ffff }],
        coherent: false,
        lineSize: 64,
        pinsForeignMemory: true,
        foreignPageOffset: 16,
        pageSize: 4096,
        mappingLimit: 100,
        memoryLimit: 2 ** 20,
        onFault: () => {},
        group: sim.simulate(new PlainModel()).group,
        inject: new sim.FaultInjector(),
        lag: { seed: 1, microseconds: 10 },
        forceDac: true,
      },
    ],
  },
  testing: {
    Captured: at('name'),
    FaultInjector: () => [{ seed: 5 }],
    RegisterScript: () => [{ bars: [{ index: 0, size: 4096 }], config: { vendorId: 1, deviceId: 2 } }],
    checkDmaAfterEach: () => [() => {}, { machine: { lag: true, forceDac: true } }],
    expectNoDmaErrors: (world) => [world.fn],
  },
};

/** Plain objects that are no options: what an object like them has beside is nobody's business. */
export const NO_OPTIONS: readonly string[] = [
  'DmaError 2',
  'openPci 0',
  'describeFault 0',
  'struct 1',
  'struct 1.field',
  'RegisterScript 0.config',
];

/** Classes of which a driver makes no object: they are there for `instanceof`. */
export const ABSTRACT: readonly string[] = ['Bar', 'Registers'];

const STEPS: readonly main.RegisterStep[] = [
  ['write32', 8, 1],
  ['write64', 16, 1n],
  ['read32', 8],
];
const registers: Readonly<Record<string, Arguments>> = {
  ...Object.fromEntries(
    ['read8', 'read16', 'read32', 'read64', 'read64LoHi', 'read64HiLo'].map((name) => [name, at(8)]),
  ),
  ...Object.fromEntries(['write8', 'write16', 'write32'].map((name) => [name, at(8, 1)])),
  ...Object.fromEntries(['write64', 'write64LoHi', 'write64HiLo'].map((name) => [name, at(8, 1n)])),
  sequence: () => [STEPS],
};
const sequenceCalls: Readonly<Record<string, Arguments>> = {
  set: at(0, 1),
  set64: at(1, 1n),
  get: at(2),
  get64: at(1),
  run: none,
};
const sequenceInternals = ['fill', 'errorOf', 'failed', 'failure', 'setOther'];
const syncs = { syncForCpu: at(0, 64, undefined), syncForDevice: at(0, 64, undefined) };
const words = { load32: at(0), load64: at(0) };
const mapping = () => new Uint8Array(5000);
const elements = main.struct(16, {
  byte: main.u8(0),
  word: main.u32(4),
  wide: main.u64(8),
  swapped: main.u16be(2),
});
const overlaid = () => elements.over(new Uint8Array(64));
const domainInternals = ['attach', 'detach', 'close'];

export const SUBJECTS: Readonly<Record<string, Subject>> = {
  source: {
    make: ({ fn }) => {
      fn.close();
      return sim.simulate(new PlainModel());
    },
    calls: {
      open: () => [
        { debug: false, streaming: streaming(), hugepages: false, releaseGrace: 5, domain: undefined },
      ],
      unplug: none,
      requestRelease: none,
      reportError: none,
      plugIn: none,
    },
  },
  function: {
    make: ({ fn }) => fn,
    calls: {
      bar: at(0),
      setMaster: none,
      clearMaster: none,
      reset: none,
      hotReset: none,
      onReset: () => [() => {}],
      onError: () => [() => {}],
      onReleaseRequest: () => [() => {}],
      setPowerState: at('D3hot'),
      isPresent: none,
      close: none,
    },
  },
  rom: { make: ({ fn }) => fn.rom, calls: { read: none } },
  configuration: {
    make: ({ fn }) => fn.config,
    calls: {
      'set command': at(2),
      clearStatus: at(0),
      capabilities: none,
      extendedCapabilities: none,
      findCapability: at(5),
      findExtendedCapability: at(1),
      read8: at(0x40),
      read16: at(0x40),
      read32: at(0x40),
      write8: at(0x3c, 1),
      write16: at(0x3c, 1),
      write32: at(0x3c, 1),
    },
  },
  'express capability': {
    make: ({ fn }) => fn.config.express,
    calls: { clearDeviceStatus: at(1) },
    internal: ['read16', 'read32', 'write16', 'write32', 'has16', 'has32'],
  },
  interrupts: {
    make: ({ fn }) => fn.interrupts,
    calls: {
      limit: at('msi'),
      intx: () => [{ autoUnmask: true }],
      msi: at(0),
      msix: at(0),
      close: none,
    },
  },
  vector: {
    make: ({ fn }) => fn.interrupts.msi(0),
    calls: {
      wait: () => [{ signal: new AbortController().signal, timeout: 1 }],
      listen: () => [() => {}],
      unmask: none,
      trigger: none,
      close: none,
    },
  },
  'memory BAR': {
    make: ({ fn }) => fn.bar(0),
    calls: registers,
    internal: ['close', 'accessError', 'prepare'],
  },
  'port BAR': {
    make: ({ fn }) => fn.bar(3),
    calls: registers,
    internal: ['close', 'accessError', 'prepare'],
  },
  'mapped registers': {
    make: ({ root }) => main.openUio('uio0', { root }).registers(0),
    calls: registers,
    internal: ['accessError', 'prepare'],
  },
  'sequence of a BAR': {
    make: ({ fn }) => fn.bar(0).sequence(STEPS),
    calls: sequenceCalls,
    internal: sequenceInternals,
  },
  'sequence of mapped registers': {
    make: ({ root }) => main.openUio('uio0', { root }).registers(0).sequence(STEPS),
    calls: sequenceCalls,
    internal: sequenceInternals,
  },
  'platform device': {
    make: ({ root }) => main.openUio('uio0', { root }),
    calls: { registers: at(0), close: none },
  },
  device: {
    debugged: true,
    make: ({ fn }) => fn.dma,
    calls: {
      supported: at(main.dmaBitMask(32)),
      setMask: at(main.dmaBitMask(32)),
      setCoherentMask: at(main.dmaBitMask(32)),
      setMaskAndCoherent: at(main.dmaBitMask(32)),
      allocCoherent: () => [4096, { managed: true, attributes: 0 }],
      allocCoherentIo: at(64),
      declareCoherentMemory: () => [bytes(), 0x10_0000n, 4096, { exclusive: true }],
      releaseDeclaredMemory: none,
      markDeclaredMemoryOccupied: at(0x10_0000n, 64),
      markDeclaredIoOccupied: at(0x10_0000n, 64),
      allocNoncoherent: at(4096, 'to-device'),
      allocPages: at(4096, 'to-device'),
      allocNoncontiguous: at(4096, 'to-device', 0),
      cacheSync: ({ fn }) => [fn.dma.allocNoncoherent(4096, 'bidirectional').bytes, 'to-device'],
      createPool: () => [
        'pool',
        { size: 64, align: 64, boundary: 4096, blocks: 1, grow: true, poison: true, managed: true },
      ],
      mapSingle: () => [bytes(), 'to-device', 0],
      mapSg: () => [[bytes(), bytes()], 'to-device', 0],
      mapResource: ({ fn }) => [fn.bar(0), 0, 4096, 'to-device', 0],
      reserveIova: () => [65_536, bytes()],
      needSync: ({ fn }) => [fn.dma.mapSingle(bytes(), 'to-device')],
      addressOf: ({ fn }) => [fn.dma.allocCoherent(64).bytes],
      close: none,
    },
    internal: ['abandon'],
  },
  domain: { make: ({ fn }) => fn.domain, calls: {}, internal: domainInternals },
  limits: {
    make: ({ fn }) => fn.dma.limits,
    calls: {
      'set maxSegmentSize': at(4096),
      'set segmentBoundary': at(0xffff),
      'set minAlignMask': at(0xff),
      'set dmaAlignment': at(0xff),
    },
  },
  coherent: {
    debugged: true,
    make: ({ fn }) => fn.dma.allocCoherent(4096),
    calls: { ...words, free: none },
    internal: ['revoke'],
  },
  'coherent BAR memory': {
    debugged: true,
    make: ({ fn }) => {
      fn.dma.declareCoherentMemory({ bar: fn.bar(0), offset: 0 } as never, 0x10_0000n, 8192);
      return fn.dma.allocCoherentIo(4096);
    },
    calls: {
      ...registers,
      copyIn: () => [new Uint8Array(8), 0],
      copyOut: () => [new Uint8Array(8), 0],
      free: none,
    },
    internal: ['revoke'],
  },
  noncoherent: {
    debugged: true,
    make: ({ fn }) => fn.dma.allocNoncoherent(4096, 'bidirectional'),
    calls: { ...syncs, free: none },
    internal: ['revoke'],
  },
  noncontiguous: {
    debugged: true,
    make: ({ fn }) => fn.dma.allocNoncontiguous(4096, 'bidirectional'),
    calls: { ...syncs, free: none },
    internal: ['revoke'],
  },
  pool: {
    debugged: true,
    make: ({ fn }) => fn.dma.createPool('pool', { size: 64 }),
    calls: {
      alloc: none,
      zalloc: none,
      free: () => [undefined],
      allocMany: () => [[undefined], 1],
      freeMany: () => [[undefined], 1],
      allocIndices: () => [[0], 1],
      freeIndices: () => [[0], 1],
      block: at(0),
      stats: none,
      destroy: none,
    },
    internal: ['refuse', 'out', 'blockAt', 'revoke', 'abandon', 'prepare', 'discard', 'moved'],
  },
  block: {
    debugged: true,
    make: ({ fn }) => fn.dma.createPool('pool', { size: 64 }).alloc(),
    calls: { ...words, free: none, zero: none, fill: at(0) },
    internal: ['take', 'revoke'],
  },
  mapping: {
    debugged: true,
    make: ({ fn }) => fn.dma.mapSingle(mapping(), 'bidirectional'),
    calls: { ...syncs, unmap: at(0) },
  },
  list: {
    debugged: true,
    make: ({ fn }) => fn.dma.mapSg([mapping(), mapping()], 'bidirectional'),
    calls: { syncForCpu: at('to-device'), syncForDevice: at('to-device'), unmap: at(0) },
  },
  iova: {
    debugged: true,
    make: ({ fn }) => fn.dma.reserveIova(65_536),
    calls: {
      link: () => [bytes(), 'to-device', 0],
      linkAt: () => [0, bytes(), 'to-device', 0],
      sync: at(0, 4096),
      unlink: at(0, 4096),
      free: none,
      destroy: none,
    },
    internal: ['revoke'],
  },
  'debug view': {
    debugged: true,
    make: ({ fn }) => fn.dma.debug,
    calls: {
      dump: none,
      onReport: () => [() => {}],
      checkFaults: none,
      clear: none,
      'set allErrors': at(true),
      'set numErrors': at(1),
      'set driverFilter': at('driver.ts'),
    },
    internal: [
      'attach',
      'begin',
      'blockAt',
      'report',
      'refused',
      'mistake',
      'conflict',
      'reportPending',
      'closing',
    ],
  },
  'ring index': {
    make: () => new main.RingIndex(16),
    calls: { advance: at(1), since: at(0), reset: none },
  },
  struct: { make: () => elements, calls: { over: () => [new Uint8Array(64)] } },
  field: { make: () => main.u32(0), calls: {}, internal: ['over'] },
  elements: { make: overlaid, calls: { clear: at(0) } },
  column: {
    make: () => overlaid().word,
    calls: { get: at(0), set: at(0, 1), load: at(0), store: at(0, 1) },
    internal: ['index'],
  },
  'swapped column': {
    make: () => overlaid().swapped,
    calls: { get: at(0), set: at(0, 1), load: at(0), store: at(0, 1) },
  },
  'wide column': {
    make: () => overlaid().wide,
    calls: { get: at(0), set: at(0, 1n), setParts: at(0, 1, 1), low: at(0), high: at(0) },
  },
  'fault injector': {
    make: () => new sim.FaultInjector(),
    calls: {
      on: () => ['map-limit', { nth: 1, every: undefined, probability: undefined }],
      off: at('map-limit'),
      toString: none,
    },
    internal: ['join', 'strike', 'touch'],
  },
  namespace: {
    make: () => new sim.NvmeNamespace(1, { capacity: 65_536 }),
    calls: { read: at(0, 512), write: () => [0, new Uint8Array(512)] },
    internal: ['page', 'pageToWrite', 'zero'],
  },
  'register script': {
    make: () => new testing.RegisterScript({ bars: [{ index: 0, size: 4096 }] }),
    calls: {
      ...Object.fromEntries(
        [8, 16, 32, 64].flatMap((bits) => [
          [`read${bits}`, at(0, 0, 1, 1)],
          [`write${bits}`, at(0, 0, 1, 1)],
        ]),
      ),
      anyOrder: () => [() => {}],
      interrupt: at(0),
      lower: none,
      dmaWrite: () => [0x1000n, new Uint8Array(4)],
      dmaRead: () => [0x1000n, new Uint8Array(4)],
      done: none,
    },
  },
  'simulated memory': {
    make: () => new HeapMemory({ pageSize: 4096 }),
    calls: { allocate: at(64, 'coherent'), free: () => [new ArrayBuffer(4)], close: none },
    internal: ['coherenceOf'],
  },
  'memfd memory': {
    make: () => new main.MemfdMemory(),
    calls: { allocate: at(64), free: () => [new ArrayBuffer(4)], close: none },
    internal: ['fileOf', 'share'],
  },
};
