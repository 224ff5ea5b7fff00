/** Finds the meaning of a design's ports. It finds AXI interfaces by the names of their signals, with any prefix. */
import type { DesignDescription } from '../simulator.ts';
import type { Port } from './ports.ts';
import { badWidth, TopPorts } from './top-ports.ts';

/** The facts that the names of ports do not tell, or tell wrongly. */
export interface LayoutOptions {
  readonly clock?: string;
  readonly reset?: string;
  /** Default: by the name of the reset. One that ends in `n` is active low. */
  readonly resetActiveLow?: boolean;
  /** The prefix of the register slave, e.g. `s_axil_`. */
  readonly registers?: string;
  /** The prefixes of AXI4 masters. Default: all that are found. */
  readonly memories?: readonly string[];
  readonly intx?: string;
  /** The port whose bits are MSI vectors. */
  readonly vectors?: string;
}

export interface Layout {
  readonly clock: string;
  readonly reset: string;
  readonly resetActiveLow: boolean;
  readonly intx: string | undefined;
  readonly vectors: string | undefined;
  readonly description: DesignDescription;
}

const CLOCKS = ['clk', 'aclk', 'clock', 'clk_i', 's_axi_aclk', 's_axil_aclk', 's_axi_lite_aclk', 'ap_clk'];
const RESETS = [
  'rst_n',
  'rstn',
  'aresetn',
  'resetn',
  'reset_n',
  's_axi_aresetn',
  'axi_resetn',
  'ap_rst_n',
  'rst_ni',
  'rst',
  'reset',
  'rst_i',
];
const INTX = ['intx', 'irq', 'interrupt', 'intr', 'int_o'];
const VECTORS = ['msi', 'msi_vectors', 'interrupts', 'irqs'];

/** The data bits that the bridge knows. */
const REGISTER_BITS = [32, 64];
const MEMORY_BITS = [32, 64, 128, 256, 512];
const MOST_VECTORS = 32;

/** @throws DmaError EINVAL a port that is needed is missing, or has an impossible direction or width */
export function findLayout(
  top: string,
  ports: readonly Port[],
  options: LayoutOptions,
  waves: 'vcd' | 'fst',
): Layout {
  const its = new TopPorts(top, ports);
  const clock = its.pick('input', options.clock, CLOCKS);
  if (clock === undefined) throw its.missing('clock', 'name it: --clock NAME');
  const reset = its.pick('input', options.reset, RESETS);
  if (reset === undefined) throw its.missing('reset', 'name it: --reset NAME');

  const slaves = prefixes(ports, 'arvalid', 'input').filter((prefix) => !its.has(`${prefix}arlen`));
  const registers = options.registers ?? slaves[0];
  if (registers === undefined || !its.has(`${registers}arvalid`)) {
    throw its.missing(
      'AXI4-Lite slave for its registers',
      'name the prefix of its signals: --registers s_axil_',
    );
  }
  const masters = [
    ...new Set([...prefixes(ports, 'arvalid', 'output'), ...prefixes(ports, 'awvalid', 'output')]),
  ];
  const memories = options.memories ?? masters;
  for (const prefix of memories) {
    if (masters.includes(prefix)) continue;
    throw its.missing(`AXI4 master ${prefix}`, 'name the prefix of its signals: --memory m_axi_');
  }
  const intx = its.pick('output', options.intx, INTX);
  const vectors = its.pick('output', options.vectors, VECTORS);
  if (vectors !== undefined && its.bits(vectors) > MOST_VECTORS) {
    throw badWidth(vectors, its.bits(vectors), `a function has up to ${MOST_VECTORS} MSI vectors`);
  }
  return {
    clock,
    reset,
    resetActiveLow: options.resetActiveLow ?? /n$|_ni$/.test(reset),
    intx,
    vectors,
    description: {
      top,
      registers: { prefix: registers, ...its.axi('AXI4-Lite slave', registers, REGISTER_BITS) },
      memories: memories.map((prefix) => ({ prefix, ...its.axi('AXI4 master', prefix, MEMORY_BITS) })),
      sinks: prefixes(ports, 'tvalid', 'output').map((prefix) => its.stream('master', prefix)),
      sources: prefixes(ports, 'tvalid', 'input').map((prefix) => its.stream('slave', prefix)),
      intx: intx !== undefined,
      vectors: vectors === undefined ? 0 : its.bits(vectors),
      waves,
    },
  };
}

/** The prefixes of interfaces that have this signal in this direction. */
function prefixes(ports: readonly Port[], signal: string, direction: Port['direction']): string[] {
  return ports
    .filter(({ name, direction: its }) => its === direction && name.endsWith(signal))
    .map(({ name }) => name.slice(0, -signal.length))
    .filter((prefix) => prefix === '' || prefix.endsWith('_'));
}
