/**
 * The driver of Intel's 82574 (e1000e), and its model.
 *
 * @module userdma/nic
 */
export { E1000e, type E1000eOptions, type WaitOptions } from './driver.ts';
export { forward } from './forward.ts';
export { E1000eModel, type E1000eModelOptions, simulateE1000e } from './model.ts';
export type { Packet } from './packet.ts';
export { E1000E_DEVICE, INTEL } from './registers.ts';
export type { Receiver, Transmitter } from './ring.ts';
export type { Statistics } from './statistics.ts';
