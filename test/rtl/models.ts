/** The designs of the examples as device models. */
import { RtlModel, type RtlOptions } from '../../lib/rtl/index.ts';
import { type DesignName, design, type Target } from './designs.ts';

const CONFIGS = {
  edu: { vendorId: 0x1234, deviceId: 0x11e8, revision: 0x10, classCode: 0x00ff00, intx: true, msi: 1 },
  'axi-dma': { vendorId: 0x10ee, deviceId: 0x7021, intx: true, msi: 2 },
} as const;

export interface Behaviour
  extends Pick<
    RtlOptions,
    'seed' | 'pressure' | 'latency' | 'reorder' | 'mhz' | 'rewind' | 'history' | 'stream'
  > {}

/** @param dmaBits address bits that its DMA engine drives */
export async function eduModel(target: Target, dmaBits = 28, behaviour: Behaviour = {}): Promise<RtlModel> {
  const pins = { dma_bits: dmaBits };
  return new RtlModel(await design('edu', target), { config: CONFIGS.edu, pins, ...behaviour });
}

export interface AxiDmaCore {
  readonly scatterGather?: boolean;
  readonly addressBits?: number;
  readonly lengthBits?: number;
}

export async function axiDmaModel(
  target: Target,
  { scatterGather = true, addressBits = 32, lengthBits = 14 }: AxiDmaCore = {},
  behaviour: Behaviour = {},
): Promise<RtlModel> {
  const pins = { scatter_gather: scatterGather ? 1 : 0, address_bits: addressBits, length_bits: lengthBits };
  const name: DesignName = 'axi-dma';
  const options = { config: CONFIGS[name], registers: 4096, pins, ...behaviour };
  return new RtlModel(await design(name, target), options);
}
