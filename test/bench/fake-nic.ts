/**
 * A NIC that is nothing but memory: it "receives" into the descriptors of a receive ring and "sends" those of a transmit
 * ring by marking them done, at once. What it costs is measured by itself.
 */
import { DONE, END_OF_PACKET, REGISTER } from '../../examples/nic/registers.ts';
import type { Doorbell } from '../../examples/nic/ring.ts';
import type { DmaDevice } from '../../lib/index.ts';

const LENGTH = 60;
/** 32-bit words of a descriptor, and the two that are written back. */
const WORDS = 4;
const LENGTH_WORD = 2;
const STATE_WORD = 3;

export class FakeNic implements Doorbell {
  receiveTail = 0;
  transmitTail = 0;
  readonly #dma: DmaDevice;
  #receive = new Uint32Array(0);
  #transmit = new Uint32Array(0);
  #receiveHead = 0;
  #transmitHead = 0;

  constructor(dma: DmaDevice) {
    this.#dma = dma;
  }

  write32(offset: number, value: number): void {
    if (offset === REGISTER.receiveTail) this.receiveTail = value;
    else if (offset === REGISTER.transmitTail) this.transmitTail = value;
    else if (offset === REGISTER.receiveBaseLow) this.#receive = this.#ringAt(value);
    else if (offset === REGISTER.transmitBaseLow) this.#transmit = this.#ringAt(value);
  }

  /** Receive so many packets, or as many as there are descriptors for, and send all that are there to be sent. */
  step(packets: number): void {
    const receive = this.#receive;
    const receiveEntries = receive.length / WORDS;
    let slot = this.#receiveHead;
    for (let i = 0; i < packets && slot !== this.receiveTail; i++) {
      receive[slot * WORDS + LENGTH_WORD] = LENGTH;
      receive[slot * WORDS + STATE_WORD] = DONE | END_OF_PACKET;
      if (++slot === receiveEntries) slot = 0;
    }
    this.#receiveHead = slot;
    const transmit = this.#transmit;
    const transmitEntries = transmit.length / WORDS;
    slot = this.#transmitHead;
    while (slot !== this.transmitTail) {
      transmit[slot * WORDS + STATE_WORD] = DONE;
      if (++slot === transmitEntries) slot = 0;
    }
    this.#transmitHead = slot;
  }

  #ringAt(low: number): Uint32Array<ArrayBuffer> {
    const ring = this.#dma.live.find((held) => 'buffer' in held && held.low === low);
    if (ring === undefined || !('buffer' in ring)) throw new Error(`no ring at 0x${low.toString(16)}`);
    return new Uint32Array(ring.buffer as ArrayBuffer);
  }
}
