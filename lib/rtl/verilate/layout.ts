/** Finds the meaning of a design's ports. It finds AXI interfaces by the names of their signals, with any prefix. */
import { DmaError } from '../../errors.ts';
import type { DesignDescription } from '../simulator.ts';
import type { Port } from './ports.ts';

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

/** The data bytes that an AXI4 memory port may have. */
const MEMORY_BYTES = [4, 8, 16, 32, 64];

/** @throws DmaError EINVAL a port that is needed is missing, or has an impossible width */
export function findLayout(
  top: string,
  ports: readonly Port[],
  options: LayoutOptions,
  waves: 'vcd' | 'fst',
): Layout {
  const byName = new Map(ports.map((port) => [port.name, port]));
  const missing = (what: string, remedy: string): DmaError =>
    new DmaError(
      'EINVAL',
      `${top} has no ${what}; its ports are ${ports.map(({ name }) => name).join(', ')}`,
      { remedy },
    );
  const pick = (wanted: string | undefined, names: readonly string[]): string | undefined =>
    wanted !== undefined ? (byName.has(wanted) ? wanted : undefined) : names.find((name) => byName.has(name));

  const clock = pick(options.clock, CLOCKS);
  if (clock === undefined) throw missing('clock', 'name it: --clock NAME');
  const reset = pick(options.reset, RESETS);
  if (reset === undefined) throw missing('reset', 'name it: --reset NAME');

  const slaves = prefixes(ports, 'arvalid', 'input').filter((prefix) => !byName.has(`${prefix}arlen`));
  const registers = options.registers ?? slaves[0];
  if (registers === undefined || !byName.has(`${registers}arvalid`)) {
    throw missing('AXI4-Lite slave for its registers', 'name the prefix of its signals: --registers s_axil_');
  }
  const masters = [
    ...new Set([...prefixes(ports, 'arvalid', 'output'), ...prefixes(ports, 'awvalid', 'output')]),
  ];
  const memories = options.memories ?? masters;
  for (const prefix of memories) {
    if (!masters.includes(prefix))
      throw missing(`AXI4 master ${prefix}`, 'name the prefix of its signals: --memory m_axi_');
  }
  const bits = (name: string): number => byName.get(name)?.bits ?? 0;
  const intx = pick(options.intx, INTX);
  const vectors = pick(options.vectors, VECTORS);
  return {
    clock,
    reset,
    resetActiveLow: options.resetActiveLow ?? /n$|_ni$/.test(reset),
    intx,
    vectors,
    description: {
      top,
      registers: {
        prefix: registers,
        addressBits: bits(`${registers}araddr`),
        dataBytes: checkBytes(`${registers}rdata`, bits(`${registers}rdata`), [4, 8]),
      },
      memories: memories.map((prefix) => {
        const channel = byName.has(`${prefix}rdata`) ? 'r' : 'w';
        const address = byName.has(`${prefix}araddr`) ? 'ar' : 'aw';
        return {
          prefix,
          addressBits: bits(`${prefix}${address}addr`),
          dataBytes: checkBytes(`${prefix}${channel}data`, bits(`${prefix}${channel}data`), MEMORY_BYTES),
        };
      }),
      sinks: prefixes(ports, 'tvalid', 'output'),
      sources: prefixes(ports, 'tvalid', 'input'),
      intx: intx !== undefined,
      vectors: vectors === undefined ? 0 : bits(vectors),
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

function checkBytes(name: string, bits: number, allowed: readonly number[]): number {
  if (allowed.includes(bits / 8)) return bits / 8;
  throw new DmaError('EINVAL', `${name} has ${bits} bits`, {
    remedy: `an interface like this has ${allowed.map((bytes) => 8 * bytes).join(', ')} data bits`,
  });
}
