/**
 * The status of a completed command: type and code, as they are placed above the phase bit (NVM Express 1.4, 4.6.1).
 */

/** Do not retry: the same command will fail again. */
const DNR = 0x4000;

export const STATUS = {
  success: 0x0000,
  abortRequested: 0x0007,
  abortedQueueDeleted: 0x0008,
  invalidOpcode: 0x0001 | DNR,
  invalidField: 0x0002 | DNR,
  invalidFusion: 0x0002,
  dataTransfer: 0x0004 | DNR,
  invalidNamespace: 0x000b | DNR,
  commandSequence: 0x000c | DNR,
  invalidSglSegment: 0x000d | DNR,
  invalidSglCount: 0x000e | DNR,
  invalidSglLength: 0x000f | DNR,
  invalidSglType: 0x0011 | DNR,
  invalidPrpOffset: 0x0013 | DNR,
  lbaRange: 0x0080 | DNR,
  invalidCompletionQueue: 0x0100 | DNR,
  invalidQueueId: 0x0101 | DNR,
  invalidQueueSize: 0x0102 | DNR,
  eventRequestLimit: 0x0105,
  invalidVector: 0x0108 | DNR,
  invalidQueueDeletion: 0x010c,
  featureNotSaveable: 0x010d | DNR,
  featureNotChangeable: 0x010e | DNR,
  featureNotOfNamespace: 0x010f | DNR,
  commandSetRejected: 0x012b | DNR,
  compareFailure: 0x0285,
} as const;

/** Not a status: the command stays with the controller. */
export const PENDING = -1;
