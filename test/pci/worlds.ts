/** The functions that PCI itself is tested on: those of the virtual machine, or simulated ones of the same kind. */
import { openPci, type PciFunction } from '../../lib/index.ts';
import { type DeviceModel, EduModel, simulate } from '../../lib/sim/index.ts';
import { openFunction } from '../hardware.ts';
import { assert } from '../harness.ts';
import { nicLike, nvmeLike, TRIGGER } from './models.ts';

export interface TestFunction {
  readonly name: string;
  open(): Promise<PciFunction>;
  /** Have the device itself raise vector 0 of the kind that is armed. It has just been opened, or reset. */
  interrupt(fn: PciFunction): void;
  /**
   * Whether it may interrupt twice for one cause: QEMU's e1000e from QEMU 8 on sends its message again when its throttling
   * time is over and nobody has read the cause.
   */
  readonly repeats: boolean;
}

const hardware = process.env.USERDMA_TEST_NVME !== undefined;

/** Whether the functions are real ones, behind VFIO. */
export const real = hardware;

/** The major version of QEMU that the guest runs on. */
export function qemuVersion(): number {
  return Number.parseInt(process.env.USERDMA_TEST_QEMU ?? '0', 10);
}

type Raise = (fn: PciFunction) => void;

function choose(
  variable: string,
  name: string,
  model: () => DeviceModel,
  raise: Raise,
  repeats = false,
): TestFunction {
  const address = process.env[variable];
  return hardware
    ? { name: `${name} at ${String(address)}`, open: () => openFunction(address!), interrupt: raise, repeats }
    : {
        name: `simulated ${name}`,
        repeats: false,
        open: () => openPci(simulate(model())),
        interrupt: model() instanceof EduModel ? raise : (fn) => fn.bar(0).write32(TRIGGER, 0),
      };
}

/** By its register for that. */
const raiseEdu: Raise = (fn) => fn.bar(0).write32(0x60, 1);

/** Interrupt mask set, interrupt cause set: a change of the link's state. */
const raiseNic: Raise = (fn) => {
  fn.bar(0).write32(0xd0, 1 << 2);
  fn.bar(0).write32(0xc8, 1 << 2);
};

/**
 * The completion of an admin command (NVMe 1.4, 3.1, 4.1, 4.6): queues of two entries, and a command that does not exist.
 * Memory is the function's, and goes with it.
 */
const raiseNvme: Raise = (fn) => {
  const bar = fn.bar(0);
  const submissions = fn.dma.allocCoherent(4096);
  const completions = fn.dma.allocCoherent(4096);
  new Uint32Array(submissions.buffer)[0] = 0xff;
  bar.write32(0x24, 0x0001_0001);
  bar.write64LoHi(0x28, submissions.dmaAddress);
  bar.write64LoHi(0x30, completions.dmaAddress);
  bar.write32(0x14, (4 << 20) | (6 << 16) | 1);
  for (let looks = 1; (bar.read32(0x1c) & 1) === 0; looks++) {
    assert.ok(looks < 1e7, 'the controller does not become ready');
  }
  bar.write32(0x1000, 1);
};

/** PCI Express: function-level reset, D3hot keeps registers, MSI-X table among the registers, no ROM. */
export const nvme = choose('USERDMA_TEST_NVME', 'NVMe', nvmeLike, raiseNvme);
/** PCI Express: I/O BAR, sub-page BAR, ROM, error reporting; D3hot loses registers. */
export const nic = choose('USERDMA_TEST_NIC', 'e1000e', nicLike, raiseNic, qemuVersion() >= 8);
/** Conventional: no reset and no power states, one MSI vector and INTx. */
export const edu = choose('USERDMA_TEST_EDU', 'edu', () => new EduModel(), raiseEdu);
/** The same behind a bridge, where it is reset with its neighbour. */
export const bridged = choose(
  'USERDMA_TEST_EDU_BRIDGED',
  'edu behind a bridge',
  () => new EduModel(),
  raiseEdu,
);

/** That one and its neighbour, on one bus. */
export async function openNeighbours(): Promise<[PciFunction, PciFunction]> {
  const { USERDMA_TEST_EDU_BRIDGED: first, USERDMA_TEST_EDU_NEIGHBOUR: second } = process.env;
  if (hardware) return [await openFunction(first!), await openFunction(second!)];
  const source = simulate(new EduModel(), { address: '0000:05:01.0' });
  const { group } = source;
  const other = simulate(new EduModel(), { address: '0000:05:02.0', group });
  return [await openPci(source), await openPci(other)];
}
