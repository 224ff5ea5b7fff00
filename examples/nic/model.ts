/**
 * A model of the 82574, written as a user of the simulation would write one. It has the features that the driver
 * uses, and a wire whose other end the test holds. Interrupts use MSI-X and are not throttled (ITR, EITR). There is
 * one queue in each direction. The only filters are the first address, broadcast and the promiscuous modes.
 */
import { crc32 } from 'node:zlib';
import {
  type BarDescription,
  type DeviceBus,
  type DeviceModel,
  type FunctionDescription,
  type SimulatedSource,
  type SimulateOptions,
  simulate,
  type Width,
} from '../../lib/sim/index.ts';
import { ModelCounters } from './model-counters.ts';
import { ModelInterrupts } from './model-interrupts.ts';
import { ReceiveQueue, TransmitQueue } from './model-queues.ts';
import {
  ADDRESS_VALID,
  CAUSE,
  CONTROL,
  E1000E_DEVICE,
  EEPROM,
  EEPROM_CONTROL,
  INTEL,
  RECEIVE_CONTROL,
  REGISTER,
  STATUS,
} from './registers.ts';

/** Options of the model. */
export interface E1000eModelOptions {
  /**
   * Simulated microseconds that a packet takes. Default 0: the packet is sent, and in loopback received, inside the
   * write of the doorbell, as in QEMU.
   */
  readonly packetTime?: number;
  /** Its MAC address, six bytes. Default 52:54:00:12:34:56, as in QEMU. */
  readonly address?: readonly number[];
  /** Called with the packets that it sends, unless they are looped back. */
  readonly onPacket?: (frame: Uint8Array) => void;
}

const REGISTER_BYTES = 0x2_0000;
const CRC_BYTES = 4;
/**
 * A frame that is longer than a standard one is dropped (RCTL.LPE off). A standard frame has a header, a VLAN tag and
 * 1,500 bytes, without CRC.
 */
const LONGEST = 1518;

export class E1000eModel implements DeviceModel {
  readonly config: FunctionDescription = {
    vendorId: INTEL,
    deviceId: E1000E_DEVICE,
    classCode: 0x020000,
    msix: { vectors: 5, bar: 3, table: 0, pending: 0x2000 },
    express: true,
  };
  readonly bars: readonly BarDescription[] = [
    { index: 0, size: REGISTER_BYTES },
    { index: 1, size: 0x2_0000 },
    { index: 2, size: 32, kind: 'io' },
    { index: 3, size: 0x4000 },
  ];

  readonly #options: Required<E1000eModelOptions>;
  /** Registers that only store the written value. */
  readonly #plain = new Uint32Array(REGISTER_BYTES / 4);
  readonly #counters = new ModelCounters();
  #interrupts!: ModelInterrupts;
  #receive!: ReceiveQueue;
  #transmit!: TransmitQueue;

  constructor(options: E1000eModelOptions = {}) {
    const address = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
    this.#options = { packetTime: 0, address, onPacket: () => {}, ...options };
  }

  attach(bus: DeviceBus): void {
    this.#interrupts = new ModelInterrupts((vector) => bus.raise(vector));
    this.#receive = new ReceiveQueue(bus, this.#plain);
    this.#transmit = new TransmitQueue(bus, this.#plain, this.#options.packetTime, {
      send: (frame) => this.#send(frame),
      written: () => this.#interrupts.cause(CAUSE.transmit),
    });
  }

  reset(): void {
    this.#plain.fill(0);
    this.#counters.reset();
    this.#interrupts.reset();
    this.#transmit.reset();
    const [a, b, c, d, e, f] = this.#options.address as [number, number, number, number, number, number];
    this.#set(REGISTER.control, CONTROL.fullDuplex | CONTROL.setLinkUp);
    this.#set(REGISTER.eepromControl, EEPROM_CONTROL.autoReadDone);
    this.#set(REGISTER.addressLow, a | (b << 8) | (c << 16) | (d << 24));
    this.#set(REGISTER.addressHigh, e | (f << 8) | ADDRESS_VALID);
  }

  /** A packet comes from the wire, without CRC. */
  receive(frame: Uint8Array): void {
    if ((this.#get(REGISTER.receiveControl) & RECEIVE_CONTROL.enable) === 0) return;
    if (frame.length > LONGEST) {
      this.#counters.tooLong();
    } else if (this.#passes(frame)) {
      if (!this.#receive.put(this.#withCrc(frame))) {
        this.#counters.missed();
        this.#interrupts.cause(CAUSE.other);
        return;
      }
      this.#counters.received(frame.length);
      this.#interrupts.cause(CAUSE.receive);
    }
  }

  /** The driver reads a register. */
  read(bar: number, offset: number, width: Width): number {
    if (bar !== 0 || width !== 4) return 0;
    if (offset === REGISTER.status) return this.#status();
    return this.#counters.read(offset) ?? this.#interrupts.read(offset) ?? this.#get(offset);
  }

  /** The driver writes a register. */
  write(bar: number, offset: number, width: Width, value: number): void {
    if (bar !== 0 || width !== 4 || this.#interrupts.write(offset, value)) return;
    switch (offset) {
      case REGISTER.control:
        // Everything except configuration space is reset.
        if (value & CONTROL.reset) this.reset();
        else this.#set(offset, value);
        break;
      case REGISTER.eepromRead:
        this.#set(offset, value & EEPROM.start ? this.#eeprom(value >>> EEPROM.addressShift) : value);
        break;
      case REGISTER.transmitControl:
      case REGISTER.transmitTail:
        this.#set(offset, value);
        this.#transmit.kick();
        break;
      default:
        this.#set(offset, value);
    }
  }

  #get(offset: number): number {
    return this.#plain[offset / 4]!;
  }

  #set(offset: number, value: number): void {
    this.#plain[offset / 4] = value;
  }

  #status(): number {
    const control = this.#get(REGISTER.control);
    return (
      (control & CONTROL.fullDuplex ? STATUS.fullDuplex : 0) |
      (control & CONTROL.setLinkUp ? STATUS.linkUp : 0) |
      (2 << 6) |
      (control & CONTROL.masterDisable ? 0 : STATUS.masterEnabled)
    );
  }

  /** Words 0 to 2 are the MAC address. The driver does not read the others. */
  #eeprom(word: number): number {
    const { address } = this.#options;
    const data = word < 3 ? address[2 * word]! | (address[2 * word + 1]! << 8) : 0xffff;
    return (data << EEPROM.dataShift) | (word << EEPROM.addressShift) | EEPROM.done;
  }

  #send(frame: Uint8Array): void {
    this.#counters.sent(frame.length);
    if (this.#get(REGISTER.receiveControl) & RECEIVE_CONTROL.macLoopback) this.receive(frame);
    else this.#options.onPacket(frame);
  }

  /** The frame as it is stored: with its CRC, unless that is stripped. */
  #withCrc(frame: Uint8Array): Uint8Array {
    if (this.#get(REGISTER.receiveControl) & RECEIVE_CONTROL.stripCrc) return frame;
    const stored = Buffer.alloc(frame.length + CRC_BYTES);
    stored.set(frame);
    stored.writeUInt32LE(crc32(frame), frame.length);
    return stored;
  }

  #passes(frame: Uint8Array): boolean {
    const control = this.#get(REGISTER.receiveControl);
    if (frame.subarray(0, 6).every((byte) => byte === 0xff))
      return (control & RECEIVE_CONTROL.broadcast) !== 0;
    if (frame[0]! & 1) return (control & RECEIVE_CONTROL.allMulticast) !== 0;
    if (control & RECEIVE_CONTROL.allUnicast) return true;
    const own = new Uint8Array(
      new Uint32Array([this.#get(REGISTER.addressLow), this.#get(REGISTER.addressHigh)]).buffer,
    );
    return frame.subarray(0, 6).every((byte, i) => byte === own[i]);
  }
}

/** An 82574 in a simulated machine. */
export function simulateE1000e(
  options: E1000eModelOptions = {},
  machine: SimulateOptions = {},
): SimulatedSource<E1000eModel> {
  return simulate(new E1000eModel(options), machine);
}
