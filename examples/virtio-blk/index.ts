/**
 * The driver of modern virtio disks, and its model.
 *
 * @module userdma/virtio-blk
 */
export { VirtioBlk, type VirtioBlkOptions } from './driver.ts';
export { simulateVirtioBlk, VirtioBlkModel, type VirtioBlkModelOptions } from './model.ts';
