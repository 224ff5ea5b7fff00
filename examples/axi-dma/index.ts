/**
 * The driver of the AXI DMA, its model, and the stream that a model of your own core can replace.
 *
 * @module userdma/axi-dma
 */
export type { Registers, TransferOptions } from './channel.ts';
export {
  AxiDma,
  type AxiDmaInterrupt,
  type AxiDmaOptions,
  type AxiDmaParts,
  type ReceiveChannel,
  type SendChannel,
} from './driver.ts';
export { AxiDmaModel, type AxiDmaModelOptions, simulateAxiDma } from './model.ts';
export { type Beats, LoopbackStream, type Stream } from './stream.ts';
export type { Payload } from './transfer.ts';
