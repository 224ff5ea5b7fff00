/** `userdma/virtio-blk`: the driver of modern virtio disks, and its model. */
export { VirtioBlk, type VirtioBlkOptions } from './driver.ts';
export { simulateVirtioBlk, VirtioBlkModel, type VirtioBlkModelOptions } from './model.ts';
