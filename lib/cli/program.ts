/** The commands of `userdma`, with their options. Each command's code is loaded when the command is used. */
import { Command, CommanderError, Option } from 'commander';
import { iommus } from '../vm/iommu.ts';
import { EXIT, fail } from './exit.ts';
import type { RtlBuild, RtlCheck } from './rtl.ts';
import type { VmOptions } from './vm.ts';
import { wholeNumber } from './whole-number.ts';

const json = new Option('--json', 'print JSON');
/** For tests: a tree of files that stands for a machine. */
const root = new Option('--root <folder>').default('').hideHelp();

/** Runs a command: its errors become sentences and exit codes. */
function run<Arguments extends unknown[]>(action: (...parts: Arguments) => unknown) {
  return async (...parts: Arguments): Promise<void> => {
    try {
      await action(...parts);
    } catch (error) {
      fail(error, (parts.at(-2) as { json?: boolean }).json === true);
    }
  };
}

/** An option that may be given more than once. */
function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

interface Common {
  readonly json: boolean;
  readonly root: string;
}

/** @param isJson true if a mistake in the command line is not written to stderr, because it is going to be JSON */
function program(isJson: boolean): Command {
  const userdma = new Command('userdma')
    .description('DMA from TypeScript: see, prepare and test the devices of this machine')
    .exitOverride()
    .configureOutput(isJson ? { outputError: () => {} } : {})
    .configureHelp({ sortSubcommands: false })
    .addHelpText(
      'after',
      '\nCompletion: source <(userdma complete bash), or zsh, fish, powershell.\nExit codes: 0 done, 1 problems found, 2 usage, 3 absent, 4 not permitted, 5 in use.',
    );

  userdma
    .command('doctor [BDF]')
    .description('say what keeps this machine, or the function BDF, from working, and what ends that')
    .option('--memory <MiB>', 'memory that is to be mapped for devices', '8')
    .option('--hugepages <count>', 'huge pages that are wanted', '0')
    .addOption(json)
    .addOption(root)
    .action(
      run(async (address: string | undefined, options: Common & { memory: string; hugepages: string }) => {
        const { doctor } = await import('./doctor.ts');
        const memory = wholeNumber('--memory', options.memory) * 2 ** 20;
        const needs = { memory, hugePages: wholeNumber('--hugepages', options.hugepages) };
        doctor({
          json: options.json,
          root: options.root,
          ...needs,
          ...(address === undefined ? {} : { address }),
        });
      }),
    );

  userdma
    .command('list')
    .description('list the PCI functions: ids, class, name, driver, IOMMU group, NUMA node, BARs')
    .addOption(json)
    .addOption(root)
    .action(run(async (options: Common) => (await import('./functions.ts')).list(options)));

  userdma
    .command('show <BDF>')
    .description('show the configuration space of a function, decoded')
    .addOption(json)
    .addOption(root)
    .action(run(async (bdf: string, options: Common) => (await import('./functions.ts')).show(bdf, options)));

  userdma
    .command('bind <BDF...>')
    .description('give functions to a driver for user space')
    .option('--driver <name>', 'vfio-pci or uio_pci_generic', 'vfio-pci')
    .option('--user <user>', 'who gets the node of the IOMMU group')
    .option('--persist', 'do it at every boot too, by a rule for udev')
    .option('--force', 'also when this machine uses the function')
    .addOption(json)
    .addOption(root)
    .action(
      run(async (list: string[], options: Common & { driver: string; user?: string; persist?: boolean }) =>
        (await import('./functions.ts')).bind(list, options),
      ),
    );

  userdma
    .command('unbind <BDF...>')
    .description('give functions back to their former driver')
    .addOption(json)
    .addOption(root)
    .action(
      run(async (list: string[], options: Common) => (await import('./functions.ts')).unbind(list, options)),
    );

  userdma
    .command('sriov <BDF> [count]')
    .description('show the virtual functions of a function, or create so many; 0 removes them')
    .addOption(json)
    .addOption(root)
    .action(
      run(async (bdf: string, count: string | undefined, options: Common) =>
        (await import('./functions.ts')).sriov(bdf, count, options),
      ),
    );

  userdma
    .command('reset <BDF>')
    .description('reset a function that is bound to vfio-pci')
    .option('--hot', 'its bus or slot, with every function on it', false)
    .addOption(json)
    .action(
      run(async (bdf: string, options: { json: boolean; hot: boolean }) =>
        (await import('./device.ts')).reset(bdf, options),
      ),
    );

  userdma
    .command('regs <BDF> <BAR> [offset] [value]')
    .description('read the registers of a BAR, or write one: 32 bits each')
    .option('--length <bytes>', 'how many to read')
    .addOption(json)
    .action(
      run(
        async (
          bdf: string,
          bar: string,
          offset: string | undefined,
          value: string | undefined,
          options: { json: boolean; length?: string },
        ) => (await import('./device.ts')).regs(bdf, [bar, offset, value], options),
      ),
    );

  userdma
    .command('selftest <BDF>')
    .description('test interrupts, memory and registers of a function without using the device')
    .addOption(json)
    .action(
      run(async (bdf: string, options: { json: boolean }) =>
        (await import('./device.ts')).selftest(bdf, options),
      ),
    );

  userdma
    .command('build')
    .description('build the native addon, where no prebuilt one loads')
    .addOption(json)
    .action(run(async (options: { json: boolean }) => (await import('./build.ts')).build(options)));

  userdma
    .command('vm <command...>')
    .description(
      'run a command in a virtual machine with devices of QEMU, an IOMMU and VFIO; write -- before it',
    )
    .option('--device <text>', "a device, as QEMU's -device; give addr= to know its address", collect, [])
    .option('--disk <image>', 'the file behind drive=disk0, disk1, ...; made if it is not there', collect, [])
    .option('--module <name>', 'a kernel module to load, with its parameters', collect, [])
    .option('--bind <BDF>', 'a function of the machine that vfio-pci gets', collect, [])
    .addOption(new Option('--iommu <kind>', 'of the machine').choices(Object.keys(iommus)).default('intel'))
    .option('--memory <size>', 'of the machine, as 512M or 2G', '1G')
    .option('--limit <seconds>', 'when the machine is switched off', '600')
    .option('--out <folder>', 'gets what the command wrote to /run/userdma, and the console of the kernel')
    .action(
      run(async (command: string[], options: VmOptions) => (await import('./vm.ts')).vm(command, options)),
    );

  const rtl = userdma.command('rtl').description('designs in Verilog as devices of the simulation');
  rtl
    .command('build <sources...>')
    .description('build a simulator of a design: a program, or a WebAssembly module')
    .requiredOption('--out <file>', 'where it goes')
    .option('--top <module>', 'the top module; by default the only one')
    .option('--wasm', 'a WebAssembly module, which runs on every system')
    .option('--fst', 'waveforms are FST instead of VCD')
    .option('--clock <port>', 'by default clk, aclk, clock ...')
    .option('--reset <port>', 'by default rst_n, aresetn, rst ...; one that ends in n is active low')
    .option('--registers <prefix>', 'of the AXI4-Lite slave with the registers, e.g. s_axil_')
    .option('--memory <prefix...>', 'of AXI4 masters; by default all')
    .option('--include <folder...>', 'where `include looks')
    .addOption(json)
    .action(
      run(async (sources: string[], options: RtlBuild) => (await import('./rtl.ts')).build(sources, options)),
    );

  rtl
    .command('check <file>')
    .description('drive the registers of a design that was built, and have it copy if told how')
    .option('--registers <bytes>', 'of the register window; by default at most 4096')
    .option('--read-only <offset...>', 'registers that are not written')
    .option('--pin <name=value...>', 'inputs of the design that have a fixed value')
    .option('--copy <recipe.json>', 'the register accesses of a copy: docs/rtl.md')
    .addOption(json)
    .action(run(async (file: string, options: RtlCheck) => (await import('./rtl.ts')).check(file, options)));

  return userdma;
}

/** @param words what follows the name of the command. Sets the exit code of this process. */
export async function runCommandLine(words: readonly string[]): Promise<void> {
  const isJson = words.includes('--json');
  const userdma = program(isJson);
  if (words[0] === 'complete') (await import('@bomb.sh/tab/commander')).default(userdma);
  try {
    await userdma.parseAsync(words, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Commander has already printed the mistake, except for a reader of JSON.
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (process.exitCode === EXIT.ok || !isJson) return;
    const message = error.message.replace(/^error: /, '');
    console.log(JSON.stringify({ error: { code: 'EINVAL', message } }));
  }
}
