/**
 * Designs with planted bugs, one a file. A file changes one line of Verilog where the input `bug` has its number, so that one
 * build of a design has all of its bugs. The table says what finds each of them.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Design } from '../../../lib/rtl/index.ts';
import { built, type DesignName, sourcesOf, TOPS } from '../designs.ts';

/** What a file exports. */
export interface Bug {
  /** The file of the design, and the text in it that is replaced. */
  readonly file: string;
  readonly from: string;
  /** `BUG` stands for the condition that the bug is on. */
  readonly to: string;
  /** Put before the end of the module. */
  readonly adds?: string;
}

/** Wrong bytes or values; a report of dma-debug or of the IOMMU; a broken rule of the bus; a number of interrupts. */
export type Finder = 'data' | 'dma-debug' | 'checker' | 'interrupts';

export interface Planted {
  readonly design: DesignName;
  readonly file: string;
  readonly found: Finder;
  /** True if interrupts do not come, so that the driver's deadline, which is real time, has to pass. */
  readonly hangs?: true;
}

export const BUGS: readonly Planted[] = [
  { design: 'edu', file: 'has-wrong-identification', found: 'data' },
  { design: 'edu', file: 'does-not-invert-liveness', found: 'data' },
  { design: 'edu', file: 'leaves-out-a-factor', found: 'data' },
  { design: 'edu', file: 'acknowledges-nothing', found: 'data' },
  { design: 'edu', file: 'loses-first-strobe', found: 'data' },
  { design: 'edu', file: 'strobes-a-byte-too-many', found: 'data' },
  { design: 'edu', file: 'turns-lanes-the-wrong-way', found: 'data' },
  { design: 'edu', file: 'moves-a-byte-less', found: 'data', hangs: true },
  { design: 'edu', file: 'reads-a-beat-too-long', found: 'data', hangs: true },
  { design: 'edu', file: 'is-done-when-addressed', found: 'data' },
  { design: 'edu', file: 'interrupts-before-the-response', found: 'data' },
  { design: 'edu', file: 'takes-no-responses', found: 'data' },
  { design: 'edu', file: 'loses-high-word-of-source', found: 'dma-debug' },
  { design: 'edu', file: 'loses-high-word-of-destination', found: 'dma-debug' },
  { design: 'edu', file: 'exchanges-source-and-destination', found: 'dma-debug' },
  { design: 'edu', file: 'crosses-4-kib', found: 'checker' },
  { design: 'edu', file: 'forgets-wlast', found: 'checker' },
  { design: 'edu', file: 'gives-wlast-early', found: 'checker' },
  { design: 'edu', file: 'withdraws-wvalid', found: 'checker' },
  { design: 'edu', file: 'changes-awaddr', found: 'checker' },
  { design: 'edu', file: 'calls-beats-narrow', found: 'checker' },
  { design: 'edu', file: 'sends-fixed-bursts', found: 'checker' },
  { design: 'edu', file: 'answers-no-access', found: 'checker' },
  { design: 'edu', file: 'interrupts-twice', found: 'interrupts', hangs: true },
  { design: 'edu', file: 'never-interrupts', found: 'interrupts', hangs: true },
  { design: 'axi-dma', file: 'has-wrong-threshold', found: 'data' },
  { design: 'axi-dma', file: 'fetches-before-the-tail', found: 'data' },
  { design: 'axi-dma', file: 'runs-beyond-the-tail', found: 'data' },
  { design: 'axi-dma', file: 'counts-a-byte-less', found: 'data' },
  { design: 'axi-dma', file: 'keeps-too-few-bytes', found: 'data' },
  { design: 'axi-dma', file: 'interrupts-before-the-response', found: 'data' },
  { design: 'axi-dma', file: 'ignores-refused-reads', found: 'data' },
  { design: 'axi-dma', file: 'strobes-a-whole-word', found: 'dma-debug' },
  { design: 'axi-dma', file: 'loses-high-word-of-buffer', found: 'dma-debug' },
  { design: 'axi-dma', file: 'crosses-4-kib', found: 'checker' },
  { design: 'axi-dma', file: 'withdraws-arvalid', found: 'checker' },
  { design: 'axi-dma', file: 'writes-status-over-control', found: 'checker' },
  { design: 'axi-dma', file: 'writes-status-to-the-next', found: 'interrupts', hangs: true },
  { design: 'axi-dma', file: 'exchanges-messages', found: 'interrupts', hangs: true },
  { design: 'axi-dma', file: 'acknowledges-nothing', found: 'interrupts', hangs: true },
];

/** The number of no bug: with it edu ends the simulation ($fatal) after `FATAL.write` was written to `FATAL.offset`. */
export const FATAL = { bug: 63, offset: 0x04, write: 0xdead } as const;

/** The value of the input `bug` that turns a bug on: from 1; 0 is none. */
export function numberOf(design: DesignName, file: string): number {
  const index = bugsOf(design).findIndex((one) => one.file === file);
  if (index < 0) throw new Error(`${design} has no bug ${file}`);
  return index + 1;
}

/** The design with all of its bugs in it, as a module. */
export async function buggy(design: DesignName): Promise<Design> {
  const bugs = await Promise.all(bugsOf(design).map(load));
  const folder = join('build', 'rtl-bugs', design);
  mkdirSync(folder, { recursive: true });
  const sources = sourcesOf(design).map((source) => {
    const file = basename(source);
    let text = readFileSync(source, 'utf8')
      .replace('    input  wire        clk,', '    input  wire [5:0]  bug,\n    input  wire        clk,')
      .replaceAll('      .clk(clk),', '      .bug(bug),\n      .clk(clk),');
    for (const [index, bug] of bugs.entries()) {
      if (bug.file === file) text = plant(text, bug, `(bug == 6'd${index + 1})`);
    }
    if (file === 'edu.v') {
      const fatal = `bug == 6'd${FATAL.bug} && ~liveness == 32'd${FATAL.write}`;
      text = atEnd(text, `always @(posedge clk) if (${fatal}) $fatal;`);
    }
    const out = join(folder, file);
    // Test files run side by side: one does not empty what the other reads.
    if (!existsSync(out) || readFileSync(out, 'utf8') !== text) writeFileSync(out, text);
    return out;
  });
  return built(`${design}-bugs`, 'wasm', { sources, top: TOPS[design] });
}

function bugsOf(design: DesignName): Planted[] {
  return BUGS.filter((one) => one.design === design);
}

async function load({ design, file }: Planted): Promise<Bug> {
  const extension = extname(fileURLToPath(import.meta.url));
  const url = new URL(`./${design}/${file}${extension}`, import.meta.url);
  const { bug } = (await import(url.href)) as { readonly bug: Bug };
  return bug;
}

function plant(text: string, { file, from, to, adds = '' }: Bug, condition: string): string {
  if (text.split(from).length !== 2) throw new Error(`${file} does not have once: ${from}`);
  const changed = text.replace(from, () => to.replaceAll('BUG', condition));
  return adds === '' ? changed : atEnd(changed, adds.replaceAll('BUG', condition));
}

function atEnd(text: string, line: string): string {
  return text.replace('endmodule', () => `${line}\nendmodule`);
}
