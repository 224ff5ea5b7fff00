/**
 * Sends packets through an AXI DMA whose streams are looped back, and prints the speed.
 *
 *     node dist/examples/axi-dma/main.js                  simulated cores, in simulated machines
 *     node dist/examples/axi-dma/main.js 0000:01:00.0     a core behind BAR 0 of an FPGA card, through VFIO
 *     node dist/examples/axi-dma/main.js uio0 udmabuf0    a core of a SoC: registers by UIO, memory by u-dma-buf
 */
import pc from 'picocolors';
import { openPci, openUDmaBuf, openUio, type PciFunction } from '../../lib/index.ts';
import type { SimulateOptions } from '../../lib/sim/index.ts';
import { main, progress, table, tool } from '../command.ts';
import { AxiDma, type AxiDmaOptions, type AxiDmaParts } from './driver.ts';
import { type AxiDmaModelOptions, simulateAxiDma } from './model.ts';
import { type Load, measure } from './throughput.ts';

/** The parts that the driver uses, opened. */
interface Board extends Disposable {
  readonly parts: AxiDmaParts;
}

const LENGTH_BITS = 14;
const LOADS: readonly Load[] = [64, 1500, 16_000, 262_144].flatMap((size) => [
  { size, depth: 1, packets: packetsOf(size) },
  { size, depth: 16, packets: packetsOf(size) },
]);

/** A number of packets that takes a moment. */
function packetsOf(size: number): number {
  return Math.ceil(20_000_000 / (size + 6_000));
}

function board(fn: PciFunction): Board {
  fn.setMaster();
  const messages = fn.interrupts.limit('msi') > 1;
  const interrupts = messages
    ? { mm2s: fn.interrupts.msi(0), s2mm: fn.interrupts.msi(1) }
    : { mm2s: fn.interrupts.intx(), s2mm: fn.interrupts.intx() };
  const parts = { registers: fn.bar(0), interrupts, dma: fn.dma };
  return { parts, [Symbol.dispose]: () => fn.close() };
}

/** Both interrupts of the core use one line of the interrupt controller. */
function openPlatform(uio: string, buffer: string): Board {
  const memory = openUDmaBuf(buffer);
  try {
    const device = openUio(uio, { dma: { memory } });
    const { interrupt, dma } = device;
    const parts = { registers: device.registers(), interrupts: { mm2s: interrupt, s2mm: interrupt }, dma };
    return { parts, [Symbol.dispose]: () => device.close() };
  } catch (error) {
    memory.close();
    throw error;
  }
}

async function openHardware(target: string, buffer = 'udmabuf0'): Promise<Board> {
  return target.startsWith('uio') ? openPlatform(target, buffer) : board(await openPci(target));
}

async function run(title: string, opened: Board, options: AxiDmaOptions): Promise<void> {
  using hardware = opened;
  const { parts } = hardware;
  using axi = new AxiDma(parts, options);
  const mode = axi.scatterGather ? 'scatter-gather' : 'direct registers';
  console.log(`\n${pc.bold(`${mode}, ${title}`)}`);
  // The first packets are slow, because V8 is still compiling the program.
  await measure(axi, parts.dma, { size: 64, depth: 1, packets: 3000 });
  const rows: string[][] = [];
  for (const load of LOADS) {
    // Without descriptors nothing can be cut.
    if (!axi.scatterGather && load.size >= 2 ** (options.lengthBits ?? LENGTH_BITS)) continue;
    progress(`packets of ${load.size} bytes, ${load.depth} at once`);
    const { packets, elapsed, wrong } = await measure(axi, parts.dma, load);
    rows.push([
      String(load.size),
      String(load.depth),
      Math.round((packets / elapsed) * 1e6).toLocaleString('en'),
      ((packets * load.size) / elapsed).toFixed(1),
      (elapsed / packets).toFixed(1),
      wrong === 0 ? pc.green('✔ equal') : pc.red(`✘ ${wrong} of ${packets} differ`),
    ]);
    if (wrong > 0) process.exitCode = 1;
  }
  progress(undefined);
  console.log(table(['bytes', 'at once', 'packets/s', 'MB/s', 'us/packet', ''], rows, 5));
}

async function simulated(title: string, core: AxiDmaModelOptions, machine: SimulateOptions): Promise<void> {
  const source = simulateAxiDma(core, machine);
  const { addressBits = 32, lengthBits = LENGTH_BITS } = core;
  // With debugging, most of the time would go there.
  const fn = await openPci(source, { debug: false });
  await run(title, board(fn), { addressBits, lengthBits });
  if (source.faults.length > 0) {
    console.log(pc.red(`${source.faults.length} faults, the first: ${source.faults[0]?.reason}`));
    process.exitCode = 1;
  }
}

async function runAll(target: string | undefined, buffer: string | undefined): Promise<void> {
  if (target !== undefined) {
    await run(target, await openHardware(target, buffer), { lengthBits: LENGTH_BITS });
    return;
  }
  await simulated('behind an IOMMU', {}, {});
  await simulated('without an IOMMU, caches not coherent', {}, { iommu: false, coherent: false });
  await simulated('behind an IOMMU', { scatterGather: false, lengthBits: 23 }, {});
}

const command = tool(
  'node dist/examples/axi-dma/main.js',
  'Sends packets through an AXI DMA whose streams are looped back.',
)
  .argument('[device]', 'address of a PCI function, or a UIO device; without it simulated cores')
  .argument('[buffer]', 'u-dma-buf of a UIO device (udmabuf0)')
  .action(runAll);
await main(command);
