/** The ports of a top module, checked to be what the bridge needs: which signals, in which direction, how wide. */
import { DmaError } from '../../errors.ts';
import type { Port } from './ports.ts';

/** The most that the bridge knows. */
const MOST_ADDRESS_BITS = 64;
const MOST_STREAM_BITS = 512;

/** The signals of an interface, as the side that begins has them: what goes out, what comes in (AMBA AXI, A2). */
const AXI_READ = { out: ['araddr', 'arvalid', 'rready'], in: ['arready', 'rdata', 'rvalid'] };
const AXI_WRITE = {
  out: ['awaddr', 'awvalid', 'wdata', 'wvalid', 'bready'],
  in: ['awready', 'wready', 'bvalid'],
};
const STREAM = { out: ['tdata', 'tvalid'], in: ['tready'] };

type Direction = 'input' | 'output';

/** The ports of a top module, and what they have to be. */
export class TopPorts {
  readonly #top: string;
  readonly #ports: ReadonlyMap<string, Port>;

  constructor(top: string, ports: readonly Port[]) {
    this.#top = top;
    this.#ports = new Map(ports.map((port) => [port.name, port]));
  }

  has(name: string): boolean {
    return this.#ports.has(name);
  }

  /** 0: there is no such port. */
  bits(name: string): number {
    return this.#ports.get(name)?.bits ?? 0;
  }

  /** The port of that name, or the first with one of the usual names. @throws DmaError EINVAL */
  pick(direction: Direction, wanted: string | undefined, usual: readonly string[]): string | undefined {
    if (wanted === undefined) return usual.find((name) => this.#ports.get(name)?.direction === direction);
    this.#need(`${direction} ${wanted}`, [[wanted, direction]]);
    return wanted;
  }

  missing(what: string, remedy: string): DmaError {
    const names = [...this.#ports.keys()].join(', ');
    return new DmaError('EINVAL', `${this.#top} has no ${what}; its ports are ${names}`, { remedy });
  }

  /** An interface with addresses. @throws DmaError EINVAL */
  axi(
    what: 'AXI4 master' | 'AXI4-Lite slave',
    prefix: string,
    widths: readonly number[],
  ): { addressBits: number; dataBytes: number } {
    const begins = what === 'AXI4 master';
    const reads = this.has(`${prefix}arvalid`);
    const writes = this.has(`${prefix}awvalid`);
    const signals = [
      ...(reads ? directions(AXI_READ, begins) : []),
      ...(writes ? directions(AXI_WRITE, begins) : []),
      // A burst of writes has to say where it ends.
      ...(this.has(`${prefix}awlen`) ? directions({ out: ['wlast'], in: [] }, begins) : []),
    ];
    this.#needAll(`${what} ${prefix}`, prefix, signals);
    const channels = [...(reads ? ['r'] : []), ...(writes ? ['w'] : [])];
    for (const address of channels.map((channel) => `${prefix}a${channel}addr`)) {
      if (this.bits(address) <= MOST_ADDRESS_BITS) continue;
      throw badWidth(address, this.bits(address), `an address has up to ${MOST_ADDRESS_BITS} bits`);
    }
    const dataBits = this.bits(`${prefix}${channels[0]}data`);
    for (const data of channels.map((channel) => `${prefix}${channel}data`)) {
      const bits = this.bits(data);
      if (widths.includes(bits) && bits === dataBits) continue;
      const remedy = `an interface like this has ${widths.join(', ')} data bits, for reads and writes`;
      throw badWidth(data, bits, remedy);
    }
    if (this.has(`${prefix}wstrb`)) this.#oneForEachByte(`${prefix}wstrb`, dataBits);
    return { addressBits: this.bits(`${prefix}a${channels[0]}addr`), dataBytes: dataBits / 8 };
  }

  /** @returns the prefix @throws DmaError EINVAL */
  stream(side: 'master' | 'slave', prefix: string): string {
    this.#needAll(`AXI4-Stream ${side} ${prefix}`, prefix, directions(STREAM, side === 'master'));
    const data = `${prefix}tdata`;
    const bits = this.bits(data);
    if (bits % 8 !== 0 || bits > MOST_STREAM_BITS) {
      throw badWidth(data, bits, `a stream has whole bytes, up to ${MOST_STREAM_BITS} bits`);
    }
    if (this.has(`${prefix}tkeep`)) this.#oneForEachByte(`${prefix}tkeep`, bits);
    return prefix;
  }

  #needAll(what: string, prefix: string, signals: readonly (readonly [string, Direction])[]): void {
    this.#need(
      what,
      signals.map(([name, direction]) => [prefix + name, direction]),
    );
  }

  #need(what: string, wanted: readonly (readonly [string, Direction])[]): void {
    const absent = wanted.filter(([name]) => !this.has(name)).map(([name]) => name);
    if (absent.length > 0 && absent.length === wanted.length) throw this.missing(what, 'check its name');
    if (absent.length > 0) {
      throw this.missing(`${absent.join(', ')} for its ${what}`, 'add these ports, or leave the others out');
    }
    for (const [name, direction] of wanted) {
      const its = this.#ports.get(name)!.direction;
      if (its === direction) continue;
      throw new DmaError(
        'EINVAL',
        `${name} of ${this.#top} is an ${its}, where its ${what} needs an ${direction}`,
        {
          remedy: 'check the direction, and the prefixes',
        },
      );
    }
  }

  #oneForEachByte(name: string, dataBits: number): void {
    if (this.bits(name) === dataBits / 8) return;
    throw badWidth(name, this.bits(name), `it has one for each of ${dataBits / 8} bytes`);
  }
}

function directions(
  signals: { readonly out: readonly string[]; readonly in: readonly string[] },
  begins: boolean,
): [string, Direction][] {
  const [out, into]: Direction[] = begins ? ['output', 'input'] : ['input', 'output'];
  return [
    ...signals.out.map((name): [string, Direction] => [name, out!]),
    ...signals.in.map((name): [string, Direction] => [name, into!]),
  ];
}

export function badWidth(name: string, bits: number, remedy: string): DmaError {
  return new DmaError('EINVAL', `${name} has ${bits} bits`, { remedy });
}
