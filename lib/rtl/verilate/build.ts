/**
 * From Verilog to a simulator:
 *
 *      verilator --xml-only     the ports             ports.ts, layout.ts
 *      verilator --cc           the design in C++
 *      compiler                 with native/rtl, and a file that tells the meaning of the ports (glue.ts)
 *
 * The result is a program that speaks the protocol of docs/rtl.md, or a WebAssembly module.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { DmaError } from '../../errors.ts';
import { packageRoot } from '../../native/package-root.ts';
import { glueFor, PREFIX } from './glue.ts';
import { findLayout, type Layout, type LayoutOptions } from './layout.ts';
import { type Port, parsePorts, parseTops } from './ports.ts';
import { checkFile, findTool, run, verilatorRoot } from './tools.ts';

/** Options of `buildDesign`. */
export interface BuildOptions extends LayoutOptions {
  /** Verilog and SystemVerilog files. */
  readonly sources: readonly string[];
  /** The top module. Default: the only one. */
  readonly top?: string;
  /** A process, or a WebAssembly module. Default `process`. */
  readonly target?: 'process' | 'wasm';
  /** The waveforms of a process; a module writes VCD. Default `vcd`. */
  readonly waves?: 'vcd' | 'fst';
  /** Parameters of the top module. */
  readonly parameters?: Readonly<Record<string, number>>;
  /** Folders of `include` files. */
  readonly include?: readonly string[];
  /** The path of the result. */
  readonly out: string;
}

export interface Built {
  readonly file: string;
  readonly layout: Layout;
}

const WASI_LIBRARIES = [
  '-lwasi-emulated-process-clocks',
  '-lwasi-emulated-getpid',
  '-lwasi-emulated-signal',
  '-lc++',
  '-lc++abi',
];
const WASI_SIGNALS = [
  '-D_WASI_EMULATED_PROCESS_CLOCKS',
  '-D_WASI_EMULATED_GETPID',
  '-D_WASI_EMULATED_SIGNAL',
];

/**
 * Build a simulator of a design.
 * @throws DmaError ENOENT a source or a tool is missing, with the package to install · EINVAL the top module does not
 *   exist, or ports are missing or have impossible widths · EIO Verilator or the compiler failed, with their output
 */
export async function buildDesign(options: BuildOptions): Promise<Built> {
  const { sources, target = 'process', waves = 'vcd', out } = options;
  for (const source of sources) {
    checkSource(source);
  }
  const verilator = findTool(['verilator'], 'Verilator', 'verilator');
  const folder = mkdtempSync(join(tmpdir(), 'userdma-rtl-build-'));
  try {
    const { top, ports } = await readPorts(verilator, folder, options);
    const layout = findLayout(top, ports, options, target === 'wasm' ? 'vcd' : waves);
    const trace = target === 'process' && waves === 'fst' ? '--trace-fst' : '--trace';
    await run(verilator, [
      '--cc',
      '-O3',
      trace,
      '--prefix',
      PREFIX,
      '--Mdir',
      folder,
      ...front(options, top),
    ]);
    writeFileSync(join(folder, 'glue.cpp'), glueFor(ports, layout));
    mkdirSync(dirname(resolve(out)), { recursive: true });
    const compile = target === 'wasm' ? compileWasm : compileProcess;
    await compile(folder, await verilatorRoot(verilator), out, trace === '--trace-fst');
    return { file: out, layout };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function readPorts(
  verilator: string,
  folder: string,
  options: BuildOptions,
): Promise<{ top: string; ports: Port[] }> {
  const file = join(folder, 'design.xml');
  await run(verilator, ['--xml-only', '--xml-output', file, ...front(options, options.top)]);
  const xml = readFileSync(file, 'utf8');
  const tops = parseTops(xml);
  const top = options.top ?? tops[0];
  if (top === undefined || !tops.includes(top)) {
    throw new DmaError('EINVAL', `there is no top module ${String(top)}; found: ${tops.join(', ')}`, {
      remedy: 'name one: --top NAME',
    });
  }
  return { top, ports: parsePorts(xml, top) };
}

/** The arguments that Verilator needs to read the design. */
function front(options: BuildOptions, top: string | undefined): string[] {
  const { sources, parameters = {}, include = [] } = options;
  return [
    '-Wno-fatal',
    '-Wno-lint',
    '-Wno-style',
    ...(top === undefined ? [] : ['--top-module', top]),
    ...Object.entries(parameters).map(([name, value]) => `-G${name}=${value}`),
    ...include.map((path) => `-I${path}`),
    ...sources,
  ];
}

async function compileProcess(folder: string, root: string, out: string, fst: boolean): Promise<void> {
  const compiler = findTool([process.env.CXX ?? 'g++', 'clang++'], 'a C++ compiler', 'g++');
  await run(compiler, [
    ...['-std=c++17', '-O2', '-pthread', '-o', out],
    ...common(folder, root, fst),
    ...(fst ? ['-DUSERDMA_RTL_FST'] : []),
    ...runtime(root, ['verilated', 'verilated_threads', fst ? 'verilated_fst_c' : 'verilated_vcd_c']),
    ...(fst ? ['-lz'] : []),
  ]);
}

async function compileWasm(folder: string, root: string, out: string): Promise<void> {
  const packages = 'clang lld wasi-libc libc++-dev-wasm32 libclang-rt-dev-wasm32';
  const names = ['', '-19', '-18', '-17', '-16', '-15', '-14'].map((version) => `clang++${version}`);
  const compiler = findTool(names, 'clang', packages);
  checkFile('/usr/include/wasm32-wasi/stdlib.h', 'the C library for WebAssembly', packages);
  checkFile('/usr/include/wasm32-wasi/c++/v1/vector', 'the C++ library for WebAssembly', packages);
  await run(compiler, [
    ...[
      '--target=wasm32-wasi',
      '-std=c++17',
      '-O2',
      '-fno-exceptions',
      '-mexec-model=reactor',
      '-Wl,--strip-all',
    ],
    ...['-DVL_IGNORE_UNKNOWN_ARCH', ...WASI_SIGNALS, '-o', out],
    // This folder comes before the compiler's own, and replaces the headers of threads.
    `-I${join(bridgeFolder(), 'runtime')}`,
    ...common(folder, root, false),
    ...runtime(root, ['verilated', 'verilated_vcd_c']),
    ...WASI_LIBRARIES,
  ]);
}

function common(folder: string, root: string, fst: boolean): string[] {
  const generated = readdirSync(folder).filter((name) => name.endsWith('.cpp'));
  return [
    ...[bridgeFolder(), folder, join(root, 'include'), join(root, 'include', 'vltstd')].map(
      (path) => `-I${path}`,
    ),
    ...[
      '-DVM_COVERAGE=0',
      '-DVM_SC=0',
      '-DVM_TRACE=1',
      `-DVM_TRACE_VCD=${fst ? 0 : 1}`,
      `-DVM_TRACE_FST=${fst ? 1 : 0}`,
    ],
    ...generated.map((name) => join(folder, name)),
  ];
}

function runtime(root: string, names: readonly string[]): string[] {
  return names.map((name) => join(root, 'include', `${name}.cpp`));
}

function bridgeFolder(): string {
  return join(packageRoot(), 'native', 'rtl');
}

function checkSource(source: string): void {
  try {
    readFileSync(source);
  } catch (error) {
    throw new DmaError('ENOENT', `${source} cannot be read`, { remedy: 'check the path', cause: error });
  }
}
