/**
 * Bugs for the edu device in Verilog: each is a change of one line, which the input `bug` turns on, so that one build has
 * all of them.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What finds it: wrong bytes or values, dma-debug, the checker of the bus, the number of interrupts. */
export type Finder = 'data' | 'dma-debug' | 'checker' | 'interrupts';

export interface Bug {
  readonly name: string;
  readonly file: 'edu.v' | 'edu_dma.v';
  readonly from: string;
  /** `BUG` stands for the condition that it is on. */
  readonly to: string;
  readonly found: Finder;
  /** True if interrupts do not come. */
  readonly hangs?: true;
}

export const BUGS: readonly Bug[] = [
  {
    name: 'the strobe of the first byte is lost',
    file: 'edu_dma.v',
    from: "lanes = 8'hff << lane;",
    to: "lanes = 8'hff << (BUG ? lane + 3'd1 : lane);",
    found: 'data',
  },
  {
    name: 'a byte too many is written',
    file: 'edu_dma.v',
    from: "(8'd1 << beyond[2:0]) - 8'd1;",
    to: "(8'd1 << (BUG ? beyond[2:0] + 3'd1 : beyond[2:0])) - 8'd1;",
    found: 'data',
  },
  {
    name: 'the high word of the destination is lost',
    file: 'edu.v',
    from: "20'h8c: if (!running)",
    to: "20'h8c: if (!running && !BUG)",
    found: 'dma-debug',
  },
  {
    name: 'the high word of the source is lost',
    file: 'edu.v',
    from: "20'h84: if (!running)",
    to: "20'h84: if (!running && !BUG)",
    found: 'dma-debug',
  },
  {
    name: 'a read burst is one beat too long',
    file: 'edu_dma.v',
    from: "m_axi_arlen = beats[7:0] - 8'd1;",
    to: "m_axi_arlen = beats[7:0] - (BUG ? 8'd0 : 8'd1);",
    found: 'data',
    hangs: true,
  },
  {
    name: 'a burst crosses 4 KiB',
    file: 'edu_dma.v',
    from: 'limit = to_boundary < in_burst ?',
    to: 'limit = to_boundary < in_burst && !BUG ?',
    found: 'checker',
  },
  {
    name: 'the interrupt comes before the last response',
    file: 'edu_dma.v',
    from: "to_address == 13'd0 && unanswered == 4'd0)",
    to: "to_address == 13'd0 && (unanswered == 4'd0 || BUG))",
    found: 'data',
  },
  {
    name: 'responses are not taken',
    file: 'edu_dma.v',
    from: "m_axi_bready = 1'b1;",
    to: 'm_axi_bready = !BUG;',
    found: 'data',
  },
  {
    name: 'the identification is wrong',
    file: 'edu.v',
    from: 's_axil_rdata <= IDENTIFICATION;',
    to: "s_axil_rdata <= IDENTIFICATION ^ {31'd0, BUG};",
    found: 'data',
  },
  {
    name: 'the length is one short',
    file: 'edu_dma.v',
    from: 'to_move <= count[12:0];',
    to: "to_move <= count[12:0] - {12'd0, BUG && count != 64'd1};",
    found: 'data',
    hangs: true,
  },
  {
    name: 'WLAST is missing',
    file: 'edu_dma.v',
    from: "m_axi_wlast = beat + 9'd1 ==",
    to: "m_axi_wlast = !BUG && beat + 9'd1 ==",
    found: 'checker',
  },
  {
    name: 'WLAST is early',
    file: 'edu_dma.v',
    from: "&& beat + 9'd1 == burst_beats",
    to: "&& beat + (BUG ? 9'd2 : 9'd1) == burst_beats",
    found: 'checker',
  },
  {
    name: 'WVALID is withdrawn',
    file: 'edu_dma.v',
    from: 'm_axi_wvalid = writing &&',
    to: 'm_axi_wvalid = !(BUG && toggle) && writing &&',
    found: 'checker',
  },
  {
    name: 'the address changes before it is taken',
    file: 'edu_dma.v',
    from: 'm_axi_awaddr = next_address;',
    to: "m_axi_awaddr = next_address + {60'd0, BUG && toggle, 3'd0};",
    found: 'checker',
  },
  {
    name: 'beats are called narrower than they are',
    file: 'edu.v',
    from: "m_axi_awsize = 3'd3;",
    to: "m_axi_awsize = BUG ? 3'd2 : 3'd3;",
    found: 'checker',
  },
  {
    name: 'the burst is FIXED',
    file: 'edu.v',
    from: "m_axi_awburst = 2'b01;",
    to: "m_axi_awburst = {1'b0, !BUG};",
    found: 'checker',
  },
  {
    name: 'the message comes twice',
    file: 'edu.v',
    from: 'if (dma_done) command[0]',
    to: "if (BUG && late) msi <= 1'b1;\n      if (dma_done) command[0]",
    found: 'interrupts',
    hangs: true,
  },
  {
    name: 'no message comes',
    file: 'edu.v',
    from: "msi <= raised != 32'd0;",
    to: "msi <= raised != 32'd0 && !BUG;",
    found: 'interrupts',
    hangs: true,
  },
  {
    name: 'the factorial leaves out its last factor',
    file: 'edu.v',
    from: 'factor <= data;',
    to: "factor <= data - {31'd0, BUG};",
    found: 'data',
  },
  {
    name: 'liveness is not inverted',
    file: 'edu.v',
    from: 'liveness <= ~data;',
    to: 'liveness <= BUG ? data : ~data;',
    found: 'data',
  },
  {
    name: 'lanes are turned the wrong way',
    file: 'edu_dma.v',
    from: 'turn = lane - index[2:0];',
    to: 'turn = BUG ? index[2:0] - lane : lane - index[2:0];',
    found: 'data',
  },
  {
    name: 'a read is done when it is addressed',
    file: 'edu_dma.v',
    from: "if (reading && to_move == 13'd0) begin",
    to: "if (reading && (to_move == 13'd0 || (BUG && to_address == 13'd0))) begin",
    found: 'data',
  },
  {
    name: 'source and destination are exchanged',
    file: 'edu.v',
    from: '(command[1] ? destination : source) & dma_mask',
    to: '(command[1] ^ BUG ? destination : source) & dma_mask',
    found: 'dma-debug',
  },
  {
    name: 'a response comes to no access',
    file: 'edu.v',
    from: "if (write) s_axil_bvalid <= 1'b1;",
    to: "if (write || (BUG && msi)) s_axil_bvalid <= 1'b1;",
    found: 'checker',
  },
  {
    name: 'the acknowledgement clears nothing',
    file: 'edu.v',
    from: '(interrupts & ~cleared) | raised;',
    to: "(interrupts & ~(BUG ? 32'd0 : cleared)) | raised;",
    found: 'data',
  },
];

/** The number of no bug: with it the design ends the simulation ($fatal) after `FATAL.write` was written to `FATAL.offset`. */
export const FATAL = { bug: 63, offset: 0x04, write: 0xdead } as const;

/** The sources with every bug in them. `bug` is the number of the one that is on, from 1; 0 is none. */
export function sourcesWithBugs(folder: string, from: string): string[] {
  mkdirSync(folder, { recursive: true });
  return (['edu.v', 'edu_dma.v'] as const).map((file) => {
    let text = readFileSync(join(from, file), 'utf8')
      .replace('    input  wire        clk,', '    input  wire [5:0]  bug,\n    input  wire        clk,')
      .replace('      .clk(clk),', '      .bug(bug),\n      .clk(clk),')
      // What a bug may need: an input that changes with every clock, and the message of the clock before.
      .replace(
        'endmodule',
        'reg toggle, late;\nalways @(posedge clk) begin toggle <= ~toggle; late <= LATE; end\nendmodule',
      )
      .replace('LATE', file === 'edu.v' ? 'msi' : "1'b0");
    if (file === 'edu.v') {
      text = text.replace(
        'endmodule',
        `always @(posedge clk) if (bug == 6'd${FATAL.bug} && ~liveness == 32'd${FATAL.write}) $fatal;\nendmodule`,
      );
    }
    // A number that turns on the toggling alone, so that a design without bugs comes to rest.
    text = text.replace('toggle <= ~toggle;', "toggle <= bug != 6'd0 && ~toggle;");
    for (const [index, bug] of BUGS.entries()) {
      if (bug.file !== file) continue;
      const to = bug.to.replaceAll('BUG', `(bug == 6'd${index + 1})`);
      text = replaceOnce(text, bug, to);
    }
    const out = join(folder, file);
    // Test files run side by side: one does not empty what the other reads.
    if (!existsSync(out) || readFileSync(out, 'utf8') !== text) writeFileSync(out, text);
    return out;
  });
}

/** Bugs of the same line come one after the other: each finds the line as the one before left it. */
function replaceOnce(text: string, { name, from }: Bug, to: string): string {
  if (text.includes(from)) return text.replace(from, () => to);
  throw new Error(`${name}: the line is not there`);
}
