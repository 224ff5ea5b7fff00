/**
 * What a run of the tests chooses. Each flag is the variable of the same name: `--qemu sid` is USERDMA_VM_QEMU=sid.
 * What a machine needs for its own tests stays as it is.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { HarnessError } from '../../lib/vm/harness-error.ts';
import { type IommuName, iommus, isIommu } from '../../lib/vm/iommu.ts';
import { type Setting, setting } from '../../lib/vm/settings.ts';
import { defaultMachine, type Machine, machines } from './machine.ts';

const flags: readonly Setting[] = [
  ...(['ACCEL', 'CPU', 'IOMMU', 'JOBS', 'KERNEL', 'LIMIT', 'MACHINE', 'MODULES', 'NODE'] as const),
  ...(['QEMU', 'RESULTS', 'ROOT'] as const),
];

/** Sets the variables of the flags and returns what is left: the filters. */
export function takeFlags(args: readonly string[]): string[] {
  const options = Object.fromEntries(flags.map((name) => [name.toLowerCase(), { type: 'string' as const }]));
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    for (const [name, value] of Object.entries(values)) {
      process.env[`USERDMA_VM_${name.toUpperCase()}`] = String(value);
    }
    return positionals;
  } catch (error) {
    const names = flags.map((name) => `--${name.toLowerCase()}`).join(' ');
    throw new HarnessError(`${(error as Error).message}; the flags are ${names}`);
  }
}

/** A whole number of at least 1 from a variable, or `fallback`. */
export function numberOf(name: Setting, fallback: number): number {
  const text = setting(name) ?? String(fallback);
  const value = Number(text);
  if (!(Number.isInteger(value) && value > 0)) {
    throw new HarnessError(`USERDMA_VM_${name}=${text}: a whole number of at least 1 is needed`);
  }
  return value;
}

/** How many machines run at a time: each keeps one processor busy. */
export function jobs(): number {
  return numberOf('JOBS', Math.min(2, availableParallelism()));
}

/** The machines that are named, separated by commas; undefined where none is. */
export function namedMachines(): readonly Machine[] | undefined {
  return setting('MACHINE')
    ?.split(',')
    .map((name) => {
      const machine = machines.find((candidate) => candidate.name === name);
      if (machine !== undefined) return machine;
      const names = machines.map((candidate) => candidate.name).join(', ');
      throw new HarnessError(`USERDMA_VM_MACHINE=${name}: there are ${names}`);
    });
}

const UNSERVED = 'Linux gives no function behind a conventional bridge to a virtio-iommu';

/** What a chosen IOMMU does not have, and why: tests of it are skipped. */
const LACKS: Partial<Record<IommuName, Readonly<Record<string, string>>>> = {
  amd: { 'log of faults': "QEMU's AMD IOMMU drops a wrong access and logs nothing" },
  virtio: {
    'page tables': 'the page tables of a virtio-iommu are in the host',
    USERDMA_TEST_EDU_SHARED: UNSERVED,
    USERDMA_TEST_SIBLING: UNSERVED,
  },
};

/** Debian's Linux 6.1, not one that somebody has built with what these tests need. */
const isDebian61 = (linux: string) => /^6\.1\.0-\d+-amd64$/.test(linux);

/** What that kernel does not have: see its /boot/config, and the list of counters in mm/vmstat.c. */
const DEBIAN_6_1_LACKS: Readonly<Record<string, string>> = {
  udmabuf: "Debian's Linux 6.1 has no udmabuf",
  'dma-heap': "Debian's Linux 6.1 has no dma-heap",
  'page tables': 'Linux 6.1 does not count the page tables of an IOMMU',
};

/**
 * The machine with the IOMMU and the processor of this run. A machine whose IOMMU is another than the default one's has
 * it for its own tests, and keeps it.
 * @param linux version of the kernel that it boots
 */
export function withChoices(machine: Machine, linux: string): Machine {
  const iommu = setting('IOMMU') ?? machine.iommu;
  if (!isIommu(iommu)) {
    throw new HarnessError(`USERDMA_VM_IOMMU=${iommu}: there are ${Object.keys(iommus).join(', ')}`);
  }
  const cpu = setting('CPU');
  const chosen = machine.iommu === defaultMachine.iommu ? iommu : machine.iommu;
  return {
    ...machine,
    iommu: chosen,
    absent: {
      ...machine.absent,
      ...(chosen === machine.iommu ? {} : LACKS[chosen]),
      ...(isDebian61(linux) ? DEBIAN_6_1_LACKS : {}),
    },
    ...(cpu === undefined ? {} : { cpu }),
  };
}
