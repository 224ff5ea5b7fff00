/** Designs that cannot be built, and machines that cannot build one: each is told with what would help. */
import { describe, expect, it } from 'vitest';
import { DmaError } from '../../lib/index.ts';
import { buildDesign } from '../../lib/rtl/index.ts';
import { findLayout, type LayoutOptions } from '../../lib/rtl/verilate/layout.ts';
import { type Port, parsePorts, parseTops } from '../../lib/rtl/verilate/ports.ts';

function port(name: string, direction: Port['direction'], bits = 1): Port {
  return { name, direction, bits };
}

function slave(prefix: string, bits = 32): Port[] {
  return [
    port(`${prefix}araddr`, 'input', 12),
    port(`${prefix}arvalid`, 'input'),
    port(`${prefix}rdata`, 'output', bits),
  ];
}

function master(prefix: string, bits: number): Port[] {
  return [
    port(`${prefix}araddr`, 'output', 40),
    port(`${prefix}arlen`, 'output', 8),
    port(`${prefix}arvalid`, 'output'),
    port(`${prefix}rdata`, 'input', bits),
  ];
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
      ...master('m01_axi_', 32),
    ]);
    expect(found).toMatchObject({ clock: 'clk', reset: 'rst_n', resetActiveLow: true });
    expect(found.description.registers).toEqual({ prefix: 's_axi_ctrl_', addressBits: 12, dataBytes: 4 });
    expect(found.description.memories).toEqual([
      { prefix: 'm00_axi_', addressBits: 40, dataBytes: 64 },
      { prefix: 'm01_axi_', addressBits: 40, dataBytes: 4 },
    ]);
  });

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

  it('names Verilator and its package where it is missing', async () => {
    const { PATH } = process.env;
    process.env.PATH = '/nowhere';
    try {
      const building = buildDesign({ sources: ['examples/edu/rtl/edu.v'], out: 'build/x' });
      await expect(building).rejects.toMatchObject({
        code: 'ENOENT',
        message: expect.stringMatching(/Verilator.*apt-get install verilator/),
      });
    } finally {
      process.env.PATH = PATH;
    }
  });
});
