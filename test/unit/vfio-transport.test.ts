/**
 * The VFIO transport against a kernel that is stricter than the one at hand: fewer vectors than the function has,
 * none that can be added later, and decoding off at open.
 */
import { describe, expect, it } from 'vitest';
import { DmaDevice } from '../../lib/dma/device.ts';
import { DmaError } from '../../lib/errors.ts';
import { SimulatedAddressSpace } from '../../lib/iommu/simulated.ts';
import { HeapMemory } from '../../lib/memory/heap.ts';
import type { Addon } from '../../lib/native/addon.ts';
import { PciFunction } from '../../lib/pci/function.ts';
import { VfioInterrupts } from '../../lib/pci/vfio/interrupts.ts';
import { VfioNotifications } from '../../lib/pci/vfio/notifications.ts';
import { VfioTransport } from '../../lib/pci/vfio/transport.ts';

const DEVICE = 1;
/** A group in which this program holds every function. */
const OWN_GROUP = { translates: true, release: () => {}, close: () => {}, elsewhere: () => undefined };
const EINVAL = -22;
const EMFILE = -24;
const ENOSPC = -28;

/** What VFIO_DEVICE_SET_IRQS does with vectors (vfio_pci_intrs.c), for a function with 8 MSI-X and 1 MSI vector. */
class Irqs {
  readonly granted: number;
  /** Whether vectors can be added while others are on. */
  readonly resizable: boolean;
  kind: number | undefined;
  allocated = 0;
  /** Vectors that the system really set aside, in order. */
  readonly taken = new Set<number>();
  /** Loopback tests, by vector. */
  readonly triggered: number[] = [];
  readonly signals = new Map<number, number>();
  readonly open = new Set<number>();
  #next = 100;

  constructor(granted: number, resizable = false) {
    this.granted = granted;
    this.resizable = resizable;
  }

  vfioIrqCount = (_device: number, kind: number): number => [1, 1, 8][kind] ?? 0;

  vfioIrqArm = (_device: number, kind: number, start: number, count: number, interrupt: number): number => {
    if (this.kind !== undefined && this.kind !== kind) return EINVAL;
    if (this.kind === undefined) {
      if (start + count > this.granted) return this.granted > 0 ? this.granted : ENOSPC;
      this.kind = kind;
      this.allocated = start + count;
      for (let vector = 0; vector < this.allocated; vector++) this.taken.add(vector);
    }
    if (start + count > this.allocated && !this.resizable) return EINVAL; // VFIO_IRQ_INFO_NORESIZE
    for (let vector = start; vector < start + count; vector++) {
      if (!this.taken.has(vector) && this.taken.size === this.granted) return ENOSPC;
      this.taken.add(vector);
      this.signals.set(vector, interrupt);
    }
    return 0;
  };

  vfioIrqOff = (_device: number, kind: number): number => {
    if (this.kind !== kind) return EINVAL;
    this.kind = undefined;
    this.allocated = 0;
    this.taken.clear();
    this.signals.clear();
    return 0;
  };

  vfioIrqResizable = (): number => (this.resizable ? 1 : 0);
  vfioIrqTrigger = (_device: number, _kind: number, vector: number): number => {
    this.triggered.push(vector);
    return 0;
  };
  vfioIrqUnmask = (): number => 0;
  interruptCreate = (): number => {
    this.open.add(++this.#next);
    return this.#next;
  };
  interruptClose = (interrupt: number): number => (this.open.delete(interrupt) ? 0 : -9);
  interruptRef = (): number => 0;
  interruptFd = (): number => 3;

  get armed(): number[] {
    return [...this.signals].filter(([, interrupt]) => interrupt !== 0).map(([vector]) => vector);
  }
}

function code(action: () => void): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DmaError) return error.code;
    throw error;
  }
  return 'none';
}

describe('interrupts that cannot be added later', () => {
  const enable = (interrupts: VfioInterrupts, vector: number) => () =>
    interrupts.enable('msix', vector, () => {});

  it('can be armed one by one, in any order', () => {
    const kernel = new Irqs(8);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    for (const vector of [0, 7, 3]) enable(interrupts, vector)();
    expect(kernel.armed.sort()).toEqual([0, 3, 7]);
    interrupts.disable('msix', 0);
    expect(kernel.armed.sort()).toEqual([3, 7]);
    interrupts.close();
    expect(kernel.kind).toBeUndefined();
    expect(kernel.open.size).toBe(0);
  });

  it('beyond what the system grants are ENOSPC, and leave nothing behind', () => {
    const kernel = new Irqs(3);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    expect(code(enable(interrupts, 3))).toBe('ENOSPC');
    expect(kernel.kind).toBeUndefined();
    for (const vector of [2, 0]) enable(interrupts, vector)();
    expect(code(enable(interrupts, 3))).toBe('ENOSPC');
    expect(kernel.armed.sort()).toEqual([0, 2]);
    expect(kernel.open.size).toBe(2);
  });

  it('are ENOSPC when the system grants none at all', () => {
    const kernel = new Irqs(0);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    expect(code(enable(interrupts, 0))).toBe('ENOSPC');
    expect(kernel.open.size).toBe(0);
  });

  it('are off again after the last one, so that another kind can be used', () => {
    const kernel = new Irqs(8);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    enable(interrupts, 5)();
    expect(code(() => interrupts.enable('msi', 0, () => {}))).toBe('EBUSY');
    interrupts.disable('msix', 5);
    interrupts.enable('msi', 0, () => {});
    expect(kernel.kind).toBe(1);
  });
});

describe('interrupts that can be added later', () => {
  const enable = (interrupts: VfioInterrupts, vector: number) => () =>
    interrupts.enable('msix', vector, () => {});

  it('take what is armed and one, of the system', () => {
    const kernel = new Irqs(8, true);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    for (const vector of [7, 3]) enable(interrupts, vector)();
    expect([...kernel.taken].sort()).toEqual([0, 3, 7]);
    expect(kernel.armed.sort()).toEqual([3, 7]);
    interrupts.close();
    expect(kernel.kind).toBeUndefined();
    expect(kernel.open.size).toBe(0);
  });

  it('are ENOSPC when the system has no more, and those that are armed stay', () => {
    const kernel = new Irqs(3, true);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    for (const vector of [5, 6]) enable(interrupts, vector)();
    expect(code(enable(interrupts, 7))).toBe('ENOSPC');
    expect(kernel.armed.sort()).toEqual([5, 6]);
    expect(kernel.open.size).toBe(2);
    enable(interrupts, 0)();
  });

  it('are ENOSPC when the system has none at all', () => {
    const kernel = new Irqs(0, true);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    expect(code(enable(interrupts, 0))).toBe('ENOSPC');
    expect(kernel.open.size).toBe(0);
    expect(kernel.kind).toBeUndefined();
  });

  it('are triggered only where they are armed', () => {
    const kernel = new Irqs(8, true);
    const interrupts = new VfioInterrupts(kernel, DEVICE);
    enable(interrupts, 3)();
    interrupts.trigger('msix', 3);
    expect(code(() => interrupts.trigger('msix', 2))).toBe('EINVAL');
    expect(code(() => interrupts.trigger('msi', 0))).toBe('EINVAL');
    expect(kernel.triggered).toEqual([3]);
    interrupts.close();
    expect(code(() => interrupts.trigger('msix', 3))).toBe('ENODEV');
  });
});

describe('what the kernel tells of a function', () => {
  const events = { error() {}, releaseRequest() {}, reset() {}, gone() {} };

  it('is there when the function is opened, or the function is not', () => {
    const kernel = new Irqs(8);
    const create = kernel.interruptCreate;
    const native = {
      ...kernel,
      vfioIrqCount: () => 1,
      vfioIrqArm: () => 0,
      interruptCreate: () => (kernel.open.size === 0 ? create() : EMFILE),
    };
    expect(code(() => new VfioNotifications(native, DEVICE, events))).toBe('EMFILE');
    expect(kernel.open.size, 'the first is closed').toBe(0);
  });

  it('may be nothing', () => {
    const kernel = new Irqs(8);
    new VfioNotifications({ ...kernel, vfioIrqCount: () => 0 }, DEVICE, events).close();
    expect(kernel.open.size).toBe(0);
  });
});

describe('opening a transport', () => {
  /** A function with BARs of these sizes and raw values, and a command register of 0. */
  function open(bars: { size: number; value: number }[]): number {
    let command = 0x0100;
    const native = {
      ...Object.fromEntries(Object.entries(new Irqs(8))),
      vfioRegionSize: (_device: number, region: number) => (region === 7 ? 256 : (bars[region]?.size ?? 0)),
      vfioRegionRead: (_device: number, _region: number, offset: number) =>
        offset === 4 ? command : (bars[(offset - 0x10) / 4]?.value ?? 0),
      vfioRegionWrite: (_device: number, _region: number, offset: number, _width: number, value: number) => {
        if (offset === 4) command = value;
        return 0;
      },
      vfioBarOpen: () => 1,
      mmioFrame: () => new ArrayBuffer(24),
      vfioDeviceClose: () => 0,
    } as unknown as Addon;
    const transport = new VfioTransport(native, DEVICE, '0000:00:10.0', OWN_GROUP);
    const kinds = transport.bars.flatMap((bar) => (bar === undefined ? [] : [bar.info.kind]));
    expect(kinds).toEqual(bars.map(({ value }) => ((value & 1) === 1 ? 'io' : 'memory')));
    return command;
  }

  it('turns on the decoding that its BARs need, and never bus mastering', () => {
    expect(open([])).toBe(0x0100);
    expect(open([{ size: 4096, value: 0 }])).toBe(0x0102);
    expect(open([{ size: 32, value: 1 }])).toBe(0x0101);
    expect(
      open([
        { size: 4096, value: 0xc },
        { size: 32, value: 0xc001 },
      ]),
    ).toBe(0x0103);
  });
});

describe('a device that goes while it is opened', () => {
  it.each([0x06, 0x34, 0x50, 0x04])('is ENODEV, and let go: at register %i', (last) => {
    const released: string[] = [];
    let gone = false;
    const native = {
      ...Object.fromEntries(Object.entries(new Irqs(8))),
      vfioRegionSize: (_device: number, region: number) => (region === 7 ? 256 : 0),
      vfioRegionRead: (_device: number, _region: number, offset: number) => {
        gone ||= offset === last;
        return gone ? -19 : 0x50; // a list of capabilities, at 0x50
      },
      vfioRegionWrite: () => (gone ? -19 : 0),
      vfioDeviceClose: () => 0,
    } as unknown as Addon;
    const group = { ...OWN_GROUP, release: (address: string) => void released.push(address) };
    const open = (): VfioTransport => new VfioTransport(native, DEVICE, '0000:05:01.0', group);
    expect([code(open), released]).toEqual(['ENODEV', ['0000:05:01.0']]);
  });
});

describe('a reset that fails', () => {
  /** A function on which both ways of resetting fail so, alone on its bus. */
  function open(errno: number, revisionAndClass: number, info: number[] | number = [14, 0, 5, 1 << 3]) {
    const kernel = new Irqs(8, true);
    let closed = 0;
    const native = {
      ...Object.fromEntries(Object.entries(kernel)),
      vfioRegionSize: (_device: number, region: number) => (region === 7 ? 256 : 0),
      vfioRegionRead: (_device: number, _region: number, offset: number) =>
        offset === 8 ? revisionAndClass : 0,
      vfioDeviceReset: () => errno,
      vfioHotResetInfo: () => info,
      vfioHotReset: () => errno,
      vfioDeviceClose: () => {
        closed++;
        return 0;
      },
    } as unknown as Addon;
    return {
      kernel,
      transport: new VfioTransport(native, DEVICE, '0000:05:01.0', OWN_GROUP),
      closed: () => closed,
    };
  }

  it.each([
    [-11, 'EAGAIN', 'EAGAIN'],
    [-22, 'EOPNOTSUPP', 'EPERM'],
    [-25, 'EOPNOTSUPP', 'EIO'],
  ])('leaves what was armed armed: %i', (errno, alone, hot) => {
    const { kernel, transport, closed } = open(errno, 0xff0000);
    transport.interrupts.enable('msix', 3, () => {});
    expect(code(() => transport.reset())).toBe(alone);
    expect(code(() => transport.hotReset())).toBe(hot);
    expect(kernel.armed).toEqual([3]);
    expect(closed()).toBe(0);
    transport.close();
    expect(closed()).toBe(1);
  });

  it.each(['reset', 'hotReset'] as const)('by %s because nobody is there is ENODEV from then on', (way) => {
    const { kernel, transport, closed } = open(-25, 0xffff_ffff);
    const failures: string[] = [];
    transport.interrupts.enable(
      'msix',
      3,
      () => {},
      (error) => failures.push(error.code),
    );
    expect(code(() => transport[way]())).toBe('ENODEV');
    expect([failures, closed(), kernel.open.size]).toEqual([['ENODEV'], 1, 0]);
    expect(code(() => transport[way]())).toBe('ENODEV');
    transport.close();
    expect(closed()).toBe(1);
  });

  it('by its bus that nobody knows any more, because nobody is there, is ENODEV', () => {
    expect(code(() => open(0, 0xffff_ffff, -19).transport.hotReset())).toBe('ENODEV');
    expect(code(() => open(0, 0xff0000, -19).transport.hotReset())).toBe('EOPNOTSUPP');
  });
});

describe('a device that was pulled out without a word', () => {
  const ENODEV = -19;
  const EIO = -5;

  /** A function whose configuration space reads so from now on. */
  function open() {
    const kernel = new Irqs(8, true);
    const refs: boolean[] = [];
    let value = 0;
    let closed = 0;
    const native = {
      ...Object.fromEntries(Object.entries(kernel)),
      vfioIrqCount: (_device: number, kind: number) => [1, 1, 8, 1, 1][kind]!,
      vfioIrqArm: (_device: number, kind: number, ...rest: [number, number, number]) =>
        kind > 2 ? 0 : kernel.vfioIrqArm(_device, kind, ...rest),
      interruptRef: (_interrupt: number, ref: boolean) => {
        refs.push(ref);
        return 0;
      },
      vfioRegionSize: (_device: number, region: number) => (region === 7 ? 256 : 0),
      vfioRegionRead: () => value,
      vfioRegionWrite: () => Math.min(value, 0),
      vfioDeviceClose: () => {
        closed++;
        return 0;
      },
    } as unknown as Addon;
    const released: string[] = [];
    const group = { ...OWN_GROUP, release: (address: string) => void released.push(address) };
    const transport = new VfioTransport(native, DEVICE, '0000:05:01.0', group);
    const dma = new DmaDevice({
      name: 'test',
      memory: new HeapMemory(),
      addressSpace: new SimulatedAddressSpace(),
    });
    const fn = new PciFunction({ transport, dma });
    const read = (next: number): void => {
      value = next;
    };
    return { kernel, fn, refs, released, read, closed: () => closed };
  }

  it.each([
    ['reads all ones and is asked', 0xffff_ffff, (fn: PciFunction) => fn.isPresent()],
    ['is unknown to the kernel when it is asked', ENODEV, (fn: PciFunction) => fn.isPresent()],
    ['is unknown to the kernel at a read', ENODEV, (fn: PciFunction) => code(() => fn.config.command)],
    ['is unknown to the kernel at a write', ENODEV, (fn: PciFunction) => code(() => fn.config.write16(4, 0))],
  ])('that %s is gone', async (_how, result, touch) => {
    const { fn, kernel, released, read, closed } = open();
    expect(fn.isPresent()).toBe(true);
    expect(kernel.open.size).toBe(2);
    const wait = fn.interrupts.msix(3).wait();
    read(result);
    expect([false, 'ENODEV']).toContain(touch(fn));
    expect(fn.gone.aborted).toBe(true);
    await expect(wait).rejects.toBe(fn.gone.reason);
    expect([closed(), kernel.open.size, released]).toEqual([1, 0, ['0000:05:01.0']]);
    expect(code(() => fn.dma.allocCoherent(64))).toBe('ENODEV');
    expect(fn.isPresent()).toBe(false);
    fn.close();
    expect([closed(), released.length]).toEqual([1, 1]);
  });

  it('is none that only fails', () => {
    const { fn, read } = open();
    read(EIO);
    expect(code(() => fn.isPresent())).toBe('EIO');
    expect(fn.gone.aborted).toBe(false);
    read(0);
    fn.close();
  });

  it('keeps no process alive by what it is told', () => {
    const { fn, refs } = open();
    expect(refs).toEqual([false, false]);
    fn.close();
  });
});
