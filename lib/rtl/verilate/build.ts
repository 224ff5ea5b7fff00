/**
 * From Verilog to a simulator:
 *
 *      verilator --xml-only     the ports             ports.ts, layout.ts
 *      verilator --cc           the design in C++
 *      compiler                 with native/rtl, and a file that tells the meaning of the ports (glue.ts)
 *
 * The result is a program that speaks the protocol of docs/rtl.md, or a WebAssembly module.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
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
  const compiler = target === 'wasm' ? findWasmCompiler() : findCompiler();
  // Beside the result, so that the folder of a build that was killed is found and replaced by the next one.
  const folder = `${resolve(out)}.build`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    const { top, ports } = await readPorts(verilator, folder, options);
    const layout = findLayout(top, ports, options, target === 'wasm' ? 'vcd' : waves);
    const trace = target === 'process' && waves === 'fst' ? '--trace-fst' : '--trace';
    const made = join(folder, 'made');
    await run(verilator, ['--cc', '-O3', trace, '--prefix', PREFIX, '--Mdir', made, ...front(options, top)]);
    // One unit of all generated files: each of them alone takes a second of headers.
    const generated = readdirSync(made).filter((name) => name.endsWith('.cpp'));
    writeFileSync(join(folder, 'design.cpp'), generated.map((name) => `#include "${name}"\n`).join(''));
    writeFileSync(join(folder, 'glue.cpp'), glueFor(ports, layout));
    const compile = target === 'wasm' ? compileWasm : compileProcess;
    const result = await compile(compiler, folder, await verilatorRoot(verilator), trace === '--trace-fst');
    renameSync(result, out);
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

/** The compiler of a process. @throws DmaError ENOENT there is none */
export function findCompiler(): string {
  return findTool([process.env.CXX ?? 'g++', 'clang++'], 'a C++ compiler', 'g++');
}

/** The compiler of a module, whose libraries and linker are there. @throws DmaError ENOENT one is missing */
export function findWasmCompiler(): string {
  const packages = 'clang lld wasi-libc libc++-dev-wasm32 libclang-rt-dev-wasm32';
  const versions = ['', '-19', '-18', '-17', '-16', '-15', '-14'];
  const compiler = findTool(
    versions.map((version) => `clang++${version}`),
    'clang',
    packages,
  );
  findTool(
    ['wasm-ld', ...versions.slice(1).map((version) => `wasm-ld${version}`)],
    'the linker for WebAssembly',
    packages,
  );
  checkFile('/usr/include/wasm32-wasi/stdlib.h', 'the C library for WebAssembly', packages);
  checkFile('/usr/include/wasm32-wasi/c++/v1/vector', 'the C++ library for WebAssembly', packages);
  return compiler;
}

/** @returns the program */
async function compileProcess(compiler: string, folder: string, root: string, fst: boolean): Promise<string> {
  const flags = [
    ...['-std=c++17', '-O2', '-pthread', ...common(folder, root, fst)],
    ...(fst ? ['-DUSERDMA_RTL_FST'] : []),
  ];
  const parts = ['verilated', 'verilated_threads', fst ? 'verilated_fst_c' : 'verilated_vcd_c'];
  const objects = await compileAll(compiler, flags, folder, runtime(root, parts));
  const result = join(folder, 'result');
  await run(compiler, ['-pthread', '-o', result, ...objects, ...(fst ? ['-lz'] : [])]);
  return result;
}

/** @returns the module */
async function compileWasm(compiler: string, folder: string, root: string): Promise<string> {
  const flags = [
    ...['--target=wasm32-wasi', '-std=c++17', '-O2', '-fno-exceptions'],
    ...['-DVL_IGNORE_UNKNOWN_ARCH', ...WASI_SIGNALS],
    // This folder comes before the compiler's own, and replaces the headers of threads.
    `-I${join(bridgeFolder(), 'runtime')}`,
    ...common(folder, root, false),
  ];
  const objects = await compileAll(compiler, flags, folder, runtime(root, ['verilated', 'verilated_vcd_c']));
  const result = join(folder, 'result');
  await run(compiler, [
    ...['--target=wasm32-wasi', '-mexec-model=reactor', '-Wl,--strip-all', '-o', result],
    ...objects,
    ...WASI_LIBRARIES,
  ]);
  return result;
}

/** Compile the design, the glue and Verilator's runtime side by side. @returns the object files */
function compileAll(
  compiler: string,
  flags: readonly string[],
  folder: string,
  runtime: readonly string[],
): Promise<string[]> {
  const sources = [join(folder, 'design.cpp'), join(folder, 'glue.cpp'), ...runtime];
  const compile = async (source: string): Promise<string> => {
    const object = join(folder, `${basename(source)}.o`);
    await run(compiler, [...flags, '-c', '-o', object, source]);
    return object;
  };
  return allOf(sources.map(compile));
}

/** All results, or the first error once none is at work any more. */
async function allOf<Result>(work: readonly Promise<Result>[]): Promise<Result[]> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}

function common(folder: string, root: string, fst: boolean): string[] {
  return [
    ...[bridgeFolder(), join(folder, 'made'), join(root, 'include'), join(root, 'include', 'vltstd')].map(
      (path) => `-I${path}`,
    ),
    '-DVM_COVERAGE=0',
    '-DVM_SC=0',
    '-DVM_TRACE=1',
    `-DVM_TRACE_VCD=${fst ? 0 : 1}`,
    `-DVM_TRACE_FST=${fst ? 1 : 0}`,
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
