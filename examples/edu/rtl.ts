/**
 * The edu driver on the edu device in Verilog. It prints the driver's results, the number of clocks, and the path of
 * the waveform.
 *
 *      npm run rtl [-- --wasm] [-- --wave FILE]
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DmaError, openPci } from '../../lib/index.ts';
import { buildDesign, processDesign, RtlModel, wasmDesign } from '../../lib/rtl/index.ts';
import { simulate } from '../../lib/sim/index.ts';
import { Edu } from './driver.ts';

const USAGE = `usage: npm run rtl -- [options]
  --wasm        build the design as WebAssembly, and run it in this process
  --wave FILE   where the waveform goes (build/edu.vcd)
  --help        this text`;

const SOURCES = ['edu.v', 'edu_dma.v'].map((name) => join('examples', 'edu', 'rtl', name));

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      wasm: { type: 'boolean', default: false },
      wave: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const target = values.wasm ? 'wasm' : 'process';
  const file = join('build', values.wasm ? 'edu.wasm' : 'edu');
  const wave = values.wave ?? join('build', 'edu.vcd');
  console.log(`building ${SOURCES.join(' ')} as ${file} ...`);
  await buildDesign({ sources: SOURCES, top: 'edu', target, out: file });

  const config = { vendorId: 0x1234, deviceId: 0x11e8, intx: true, msi: 1 };
  const design = target === 'wasm' ? wasmDesign(file) : processDesign(`./${file}`);
  const model = new RtlModel(design, { config, pins: { dma_bits: 28 } });
  model.waves({ file: wave });
  const source = simulate(model);
  {
    using edu = new Edu(await openPci(source));
    const clocks = (): number => model.simulator.clock;
    const { major, minor } = edu.identify();
    console.log(`edu ${major}.${minor}, after ${clocks()} clocks`);
    let before = clocks();
    console.log(`10! = ${await edu.factorial(10)}, ${clocks() - before} clocks`);
    const bytes = Uint8Array.from({ length: 4000 }, (_, i) => i * 7);
    before = clocks();
    await edu.write(bytes, 1, 3);
    console.log(`4,000 bytes to the device, unaligned: ${clocks() - before} clocks`);
    before = clocks();
    const back = await edu.read(4000, 1, 5);
    console.log(
      `and back: ${clocks() - before} clocks, ${Buffer.compare(back, bytes) === 0 ? 'equal' : 'DIFFERENT'}`,
    );
    console.log(
      'dma-debug:',
      edu.fn.dma.debug?.reports.length ?? 0,
      'reports; faults:',
      source.faults.length,
    );
  }
  console.log(`waveform: ${wave} (gtkwave ${wave})`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof DmaError)) throw error;
  console.error(`rtl: ${error.message}`);
  process.exitCode = 1;
}
