/**
 * Child of dma-buf.test.ts: has a dma-buf as descriptor 3. Prints a digest of its bytes, as the device left them, and
 * writes every one of them inverted.
 */
import { createHash } from 'node:crypto';
import { importDmaBuf } from '../../lib/index.ts';

const dmaBuf = importDmaBuf(3);
const bytes = new Uint8Array(dmaBuf.map());
dmaBuf.beginCpuAccess('bidirectional');
const digest = createHash('sha256').update(bytes).digest('hex');
for (let i = 0; i < bytes.length; i++) bytes[i] = ~bytes[i]!;
dmaBuf.endCpuAccess('bidirectional');
const { size } = dmaBuf;
dmaBuf.close();
console.log(JSON.stringify({ size, digest, left: bytes.length }));
