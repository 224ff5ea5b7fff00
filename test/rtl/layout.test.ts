/** Designs that cannot be built, and machines that cannot build one: each is told with what would help. */
import { describe, expect, it } from 'vitest';
import { DmaError } from '../../lib/index.ts';
import { buildDesign } from '../../lib/rtl/index.ts';
import { findLayout, type LayoutOptions } from '../../lib/rtl/verilate/layout.ts';
import { type Port, parsePorts, parseTops } from '../../lib/rtl/verilate/ports.ts';

function port(name: string, direction: Port['direction'], bits = 1): Port {
  return { name, direction, bits };
}

/** Signals as the side that begins has them: `>` goes out, `<` comes in. */
const AXI =
  '>araddr >arvalid <arready <rdata <rvalid >rready >awaddr >awvalid <awready >wdata >wvalid <wready <bvalid >bready';
const STREAM = '>tdata >tvalid <tready';

function ports(
  signals: string,
  prefix: string,
  begins: boolean,
  widths: Readonly<Record<string, number>>,
): Port[] {
  return signals.split(' ').map((signal) => {
    const name = signal.slice(1);
    const out = signal.startsWith('>') === begins;
    return port(
      prefix + name,
      out ? 'output' : 'input',
      widths[name.replace(/^(ar|aw|r|w)(?=addr|data)/, '')] ?? 1,
    );
  });
}

function slave(prefix: string, data = 32): Port[] {
  return ports(AXI, prefix, false, { addr: 12, data });
}

function master(prefix: string, data: number, addr = 40): Port[] {
  const bursts = [
    port(`${prefix}arlen`, 'output', 8),
    port(`${prefix}awlen`, 'output', 8),
    port(`${prefix}wlast`, 'output'),
  ];
  return [...ports(AXI, prefix, true, { addr, data }), ...bursts];
}

function stream(prefix: string, begins: boolean, tdata: number): Port[] {
  return ports(STREAM, prefix, begins, { tdata });
}

const CLOCKS = [port('clk', 'input'), port('rst_n', 'input')];

function layout(ports: readonly Port[], options: LayoutOptions = {}) {
  return findLayout('core', ports, options, 'vcd');
}

describe('the ports of a design', () => {
  it('are found by their names, with any prefix', () => {
    const found = layout([
      ...CLOCKS,
      ...slave('S_AXI_CTRL_'.toLowerCase()),
      ...master('m00_axi_', 512),
      ...master('m01_axi_', 32, 64),
      ...stream('m_axis_', true, 24),
      ...stream('s_axis_', false, 512),
      port('irq', 'input'),
      port('msi', 'output', 32),
    ]);
    expect(found).toMatchObject({ clock: 'clk', reset: 'rst_n', resetActiveLow: true });
    expect(found.description.registers).toEqual({ prefix: 's_axi_ctrl_', addressBits: 12, dataBytes: 4 });
    expect(found.description.memories).toEqual([
      { prefix: 'm00_axi_', addressBits: 40, dataBytes: 64 },
      { prefix: 'm01_axi_', addressBits: 64, dataBytes: 4 },
    ]);
    // An input is no interrupt, whatever its name is.
    expect(found.description).toMatchObject({
      sinks: ['m_axis_'],
      sources: ['s_axis_'],
      intx: false,
      vectors: 32,
    });
  });

  const without = (list: readonly Port[], ...names: readonly string[]) =>
    list.filter(({ name }) => !names.includes(name));
  const turned = (list: readonly Port[], which: string) =>
    list.map((one) =>
      one.name === which ? port(which, one.direction === 'input' ? 'output' : 'input', one.bits) : one,
    );

  const wrong: readonly [string, readonly Port[], LayoutOptions, RegExp][] = [
    [
      'no clock',
      [port('rst_n', 'input'), ...slave('s_')],
      {},
      /core has no clock; its ports are rst_n, s_araddr/,
    ],
    ['no reset', [port('clk', 'input'), ...slave('s_')], {}, /core has no reset/],
    [
      'no registers',
      [...CLOCKS, ...master('m_', 64)],
      {},
      /has no AXI4-Lite slave for its registers; its ports are clk, rst_n, m_araddr/,
    ],
    [
      'registers of another prefix',
      [...CLOCKS, ...slave('s_')],
      { registers: 'x_' },
      /has no AXI4-Lite slave/,
    ],
    [
      'a memory of another prefix',
      [...CLOCKS, ...slave('s_')],
      { memories: ['m_'] },
      /has no AXI4 master m_/,
    ],
    ['registers of 24 bits', [...CLOCKS, ...slave('s_', 24)], {}, /s_rdata has 24 bits.*32, 64/],
    ['memory of 96 bits', [...CLOCKS, ...slave('s_'), ...master('m_', 96)], {}, /m_rdata has 96 bits.*512/],
    ['registers of 128 bits', [...CLOCKS, ...slave('s_', 128)], {}, /s_rdata has 128 bits/],
    [
      'a register slave that lacks signals',
      without([...CLOCKS, ...slave('s_')], 's_rready', 's_bvalid'),
      {},
      /core has no s_rready, s_bvalid for its AXI4-Lite slave s_; its ports are clk/,
    ],
    [
      'a master that lacks signals',
      without([...CLOCKS, ...slave('s_'), ...master('m_', 64)], 'm_wready', 'm_wlast'),
      {},
      /core has no m_wready, m_wlast for its AXI4 master m_/,
    ],
    [
      'a signal in the wrong direction',
      turned([...CLOCKS, ...slave('s_'), ...master('m_', 64)], 'm_rready'),
      {},
      /m_rready of core is an input, where its AXI4 master m_ needs an output/,
    ],
    [
      'data of two widths',
      [...CLOCKS, ...slave('s_'), ...without(master('m_', 64), 'm_wdata'), port('m_wdata', 'output', 32)],
      {},
      /m_wdata has 32 bits/,
    ],
    [
      'strobes for half of the bytes',
      [...CLOCKS, ...slave('s_'), ...master('m_', 64), port('m_wstrb', 'output', 4)],
      {},
      /m_wstrb has 4 bits.*one for each of 8 bytes/,
    ],
    [
      'addresses of 65 bits',
      [...CLOCKS, ...slave('s_'), ...master('m_', 64, 65)],
      {},
      /m_araddr has 65 bits.*up to 64/,
    ],
    [
      'a stream of 12 bits',
      [...CLOCKS, ...slave('s_'), ...stream('m_', true, 12)],
      {},
      /m_tdata has 12 bits.*whole bytes/,
    ],
    [
      'a stream of 1,024 bits',
      [...CLOCKS, ...slave('s_'), ...stream('m_', false, 1024)],
      {},
      /m_tdata has 1024 bits/,
    ],
    [
      'a stream without TREADY',
      without([...CLOCKS, ...slave('s_'), ...stream('m_', true, 8)], 'm_tready'),
      {},
      /core has no m_tready for its AXI4-Stream master m_/,
    ],
    [
      'keeps of another width',
      [...CLOCKS, ...slave('s_'), ...stream('m_', true, 32), port('m_tkeep', 'output', 8)],
      {},
      /m_tkeep has 8 bits/,
    ],
    [
      '33 vectors',
      [...CLOCKS, ...slave('s_'), port('msi', 'output', 33)],
      {},
      /msi has 33 bits.*32 MSI vectors/,
    ],
    [
      'a clock of another name',
      [...CLOCKS, ...slave('s_')],
      { clock: 'clk2' },
      /core has no input clk2; its ports/,
    ],
    ['an interrupt of another name', [...CLOCKS, ...slave('s_')], { intx: 'irq' }, /core has no output irq/],
    ['an interrupt that goes in', [...CLOCKS, ...slave('s_')], { vectors: 'clk' }, /clk of core is an input/],
    ['memory of 1,024 bits', [...CLOCKS, ...slave('s_'), ...master('m_', 1024)], {}, /m_rdata has 1024 bits/],
  ];
  for (const [what, ports, options, message] of wrong) {
    it(`${what}: refused`, () => {
      expect(() => layout(ports, options)).toThrow(DmaError);
      expect(() => layout(ports, options)).toThrow(message);
    });
  }

  it('are read from what Verilator says of them', () => {
    const xml = `<module name="core" origName="core" topModule="1">
      <var name="clk" dir="input" dtype_id="1" origName="clk"/><var name="x" dtype_id="2" origName="x"/>
      <var name="data" dir="output" dtype_id="2" origName="data"/></module>
      <basicdtype id="1" name="logic"/><basicdtype id="2" name="logic" left="31" right="0"/>`;
    expect(parseTops(xml)).toEqual(['core']);
    expect(parsePorts(xml, 'core')).toEqual([port('clk', 'input'), port('data', 'output', 32)]);
  });
});

describe('a build', () => {
  it('names a source that is not there', async () => {
    await expect(buildDesign({ sources: ['nowhere.v'], out: 'build/x' })).rejects.toMatchObject({
      code: 'ENOENT',
      message: /nowhere\.v/,
    });
  });
});
