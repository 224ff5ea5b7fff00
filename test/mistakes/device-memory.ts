/** What the mistaken drivers say to the device, as examples/edu/driver.ts does. */

/** Where the DMA engine sees the device's own memory. */
export const DEVICE_MEMORY = 0x40000n;
/** Direction of a transfer that writes memory; 0 is one that reads it. */
export const FROM_DEVICE = 2;
