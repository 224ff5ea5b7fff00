/**
 * The driver of AMD's (Xilinx's) XDMA core for PCIe cards, and its model.
 *
 * @module userdma/xdma
 */
export type { Alignment, Channel, Memory } from './channel.ts';
export { type TransferOptions, Xdma, type XdmaOptions } from './driver.ts';
export { simulateXdma, XdmaModel, type XdmaModelOptions } from './model.ts';
