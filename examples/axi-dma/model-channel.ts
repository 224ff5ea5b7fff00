/**
 * One channel of the modelled core: its registers, and the state machine behind them.
 *
 *      halted --run--> idle --LENGTH or TAILDESC--> fetch descriptor -> move bursts -> write its status --.
 *        ^               ^                              ^                                                 |
 *        '- stop, error  '----- at the tail ------------'------------------- before the tail -------------'
 *
 * If the channel was stopped before, it fetches a descriptor from CURDESC, otherwise from NXTDESC of the one before
 * (PG021, "Descriptor Management"). The model leaves out cyclic and multichannel mode, and keyhole writes.
 */
import { type Job, type Moved, newJob } from './model-job.ts';
import { InterruptPacing } from './model-pacing.ts';
import { alignPointer, cutAddress, fetchDescriptor, type Wires, writeStatus } from './model-wires.ts';
import { CONTROL, DESCRIPTOR_STATUS, type ErrorName, LENGTH_MASK, REGISTER, STATUS } from './registers.ts';

const CONTROL_WRITABLE =
  CONTROL.run | CONTROL.completeInterrupt | CONTROL.delayInterrupt | CONTROL.errorInterrupt | 0xffff_0000;
const CONTROL_DEFAULT = CONTROL.reserved | (1 << CONTROL.thresholdShift);
/** Microseconds until a channel that is stopped at rest has halted. */
const HALT_TIME = 2;
/** No burst crosses a multiple of this (AXI4, A3.4.1). */
const BURST_BOUNDARY = 4096;

export abstract class ChannelModel {
  protected readonly wires: Wires;
  #control = CONTROL_DEFAULT;
  #status = 0;
  /** Registers that only store the written value: offset -> value. */
  #plain = new Map<number, number>();
  #job: Job | undefined;
  /** The address of the next descriptor. */
  #next = 0n;
  #tail = 0n;
  /** True if the channel is at the tail, or has no work yet. */
  #resting = true;
  #stepping = false;
  readonly #pacing: InterruptPacing;
  /** Actions of an earlier epoch have no effect. */
  #epoch = 0;

  constructor(wires: Wires) {
    this.wires = wires;
    this.#pacing = new InterruptPacing(wires.after);
  }

  /** Moves one burst of `job`, of at most `limit` bytes. */
  protected abstract move(job: Job, limit: number): Moved;
  /** True if interrupts count this job: it ends a packet. */
  protected abstract endsPacket(job: Job): boolean;
  /** The value of LENGTH, or of STATUS of the descriptor, when the job is done. */
  protected abstract result(job: Job): number;

  /** As after power-up. */
  reset(): void {
    this.#epoch++;
    this.#control = CONTROL_DEFAULT;
    this.#status = STATUS.halted | (this.wires.scatterGather ? STATUS.scatterGather : 0);
    this.#plain.clear();
    this.#job = undefined;
    this.#resting = true;
    this.#stepping = false;
    this.#pacing.threshold = 1;
  }

  /** The reset bit reads 1 from here until `reset`. */
  beginReset(): void {
    this.reset();
    this.#control |= CONTROL.reset;
  }

  get interrupt(): boolean {
    return (this.#status & this.#control & STATUS.interrupts) !== 0;
  }

  read(offset: number): number {
    if (offset === REGISTER.control) return this.#control >>> 0;
    if (offset === REGISTER.status)
      return (this.#status | (this.#pacing.left << CONTROL.thresholdShift)) >>> 0;
    return this.#plain.get(offset) ?? 0;
  }

  write(offset: number, value: number): void {
    if (this.#control & CONTROL.reset) return;
    if (offset === REGISTER.control) this.#writeControl(value);
    else if (offset === REGISTER.status) this.#status &= ~(value & STATUS.interrupts);
    else if (this.wires.scatterGather) this.#writePointer(offset, value);
    else this.#writeDirect(offset, value);
    this.wires.updateInterrupt();
  }

  /** The stream has room or bytes again. */
  wake(): void {
    if (!this.#resting) this.#stepIn(1);
  }

  #writeControl(value: number): void {
    if (value & CONTROL.reset) {
      this.wires.resetCore();
      return;
    }
    const before = this.#control;
    this.#control = CONTROL.reserved | (value & CONTROL_WRITABLE);
    if (thresholdOf(this.#control) === 0) this.#control |= 1 << CONTROL.thresholdShift;
    if (thresholdOf(before) !== thresholdOf(this.#control))
      this.#pacing.threshold = thresholdOf(this.#control);
    if (~before & this.#control & CONTROL.run) this.#start();
    else if (before & ~this.#control & CONTROL.run) this.#stepIn(HALT_TIME);
  }

  #start(): void {
    this.#status &= ~STATUS.halted;
    if (!this.wires.scatterGather) return;
    this.#next = this.#pointer(REGISTER.currentDescriptor);
    this.#status |= STATUS.idle;
  }

  #writePointer(offset: number, value: number): void {
    const wide = this.wires.addressBits > 32;
    const halted = (this.#status & STATUS.halted) !== 0;
    const high = offset === REGISTER.currentDescriptorHigh || offset === REGISTER.tailDescriptorHigh;
    if (high && !wide) return;
    if (offset === REGISTER.currentDescriptor || offset === REGISTER.currentDescriptorHigh) {
      if (halted) this.#plain.set(offset, high ? value : alignPointer(this.wires, value));
    } else if (offset === REGISTER.tailDescriptor || offset === REGISTER.tailDescriptorHigh) {
      this.#plain.set(offset, high ? value : alignPointer(this.wires, value));
      // A wide core starts when the upper half is written.
      if (!halted && high === wide) this.#begin();
    }
  }

  #begin(): void {
    this.#tail = this.#pointer(REGISTER.tailDescriptor);
    this.#resting = false;
    this.#status &= ~STATUS.idle;
    this.#stepIn(1);
  }

  #writeDirect(offset: number, value: number): void {
    if (offset === REGISTER.length) this.#writeLength(value);
    else if (offset === REGISTER.address) this.#plain.set(offset, value);
    else if (offset === REGISTER.addressHigh && this.wires.addressBits > 32) this.#plain.set(offset, value);
  }

  #writeLength(value: number): void {
    const address = cutAddress(this.wires, this.#pointer(REGISTER.address));
    const job = newJob(this.wires, address, value, { descriptor: undefined, next: 0n, flags: 0 });
    this.#plain.set(REGISTER.length, job.left);
    if (this.#status & STATUS.halted || job.left === 0) return;
    if (this.#job !== undefined) this.wires.report(address, job.left, 'LENGTH written during a transfer');
    this.#job = job;
    this.#resting = false;
    this.#status &= ~STATUS.idle;
    this.#stepIn(1);
  }

  #stepIn(microseconds: number): void {
    if (this.#stepping) return;
    this.#stepping = true;
    const epoch = this.#epoch;
    this.wires.after(microseconds, () => {
      if (epoch !== this.#epoch) return;
      this.#stepping = false;
      this.#step();
      this.wires.updateInterrupt();
    });
  }

  #step(): void {
    if ((this.#control & CONTROL.run) === 0) {
      this.#halt();
      return;
    }
    if (this.#job !== undefined && (this.#job.left === 0 || this.#job.ended)) this.#finish(this.#job);
    if (this.#resting) return;
    this.#job ??= this.#fetch();
    if (this.#job !== undefined) this.#advance(this.#job);
  }

  #advance(job: Job): void {
    const boundary = BURST_BOUNDARY - Number(job.address % BigInt(BURST_BOUNDARY));
    const moved = this.move(job, Math.min(job.left, boundary));
    if (typeof moved !== 'number') {
      this.#failTransfer(job, moved);
      return;
    }
    job.address += BigInt(moved);
    job.left -= moved;
    job.moved += moved;
    // A packet can end with a beat without a byte (TKEEP 0 with TLAST). It takes a clock, too.
    if (moved > 0 || job.ended) this.#stepIn(Math.max(1, moved / this.wires.bandwidth));
  }

  /** Undefined after an error. */
  #fetch(): Job | undefined {
    const at = this.#next;
    this.#setPointer(REGISTER.currentDescriptor, at);
    const { response, next, address, control, status } = fetchDescriptor(this.wires, at);
    if (response !== 'OKAY') this.#fail(response === 'SLVERR' ? 'SGSlvErr' : 'SGDecErr');
    else if (status & DESCRIPTOR_STATUS.complete) this.#fail('SGIntErr');
    else {
      const flags = control & ~LENGTH_MASK;
      const job = newJob(this.wires, address, control & LENGTH_MASK, { descriptor: at, next, flags });
      if (job.left > 0) return job;
      this.#fail('DMAIntErr', at);
    }
    return undefined;
  }

  #finish(job: Job): void {
    this.#job = undefined;
    if (job.descriptor === undefined) {
      this.#plain.set(REGISTER.length, this.result(job));
      this.#rest();
      this.#status |= STATUS.complete;
      return;
    }
    this.#next = job.next;
    if (!this.#update(job.descriptor, DESCRIPTOR_STATUS.complete | this.result(job))) return;
    if (job.descriptor === this.#tail) this.#rest();
    if (this.endsPacket(job)) this.#countPacket();
  }

  #rest(): void {
    this.#resting = true;
    this.#status |= STATUS.idle;
  }

  #countPacket(): void {
    const epoch = this.#epoch;
    const late = (): void => {
      if (epoch !== this.#epoch) return;
      this.#status |= STATUS.delay;
      this.wires.updateInterrupt();
    };
    if (this.#pacing.packet(this.#control >>> CONTROL.delayShift, late)) this.#status |= STATUS.complete;
  }

  #failTransfer(job: Job, moved: Exclude<Moved, number>): void {
    const { descriptor } = job;
    if (moved === 'too long') this.#fail('DMAIntErr', descriptor);
    else this.#fail(moved === 'SLVERR' ? 'DMASlvErr' : 'DMADecErr', descriptor);
  }

  /** PG021, "Errors": the channel halts, and only a reset restarts it. */
  #fail(error: ErrorName, descriptor?: bigint): void {
    this.#status |= STATUS.errors[error] | STATUS.error;
    this.#control &= ~CONTROL.run;
    if (descriptor !== undefined && error in DESCRIPTOR_STATUS.errors) {
      const flag = DESCRIPTOR_STATUS.errors[error as keyof typeof DESCRIPTOR_STATUS.errors];
      this.#update(descriptor, DESCRIPTOR_STATUS.complete | flag);
    }
    this.#halt();
  }

  #halt(): void {
    this.#job = undefined;
    this.#resting = true;
    this.#status = (this.#status | STATUS.halted) & ~STATUS.idle;
  }

  /** Writes STATUS of a descriptor back. Returns false after an error. */
  #update(descriptor: bigint, status: number): boolean {
    const response = writeStatus(this.wires, descriptor, status);
    if (response === 'OKAY') return true;
    this.#fail(response === 'SLVERR' ? 'SGSlvErr' : 'SGDecErr');
    return false;
  }

  #pointer(low: number): bigint {
    return (BigInt(this.#plain.get(low + 4) ?? 0) << 32n) | BigInt(this.#plain.get(low) ?? 0);
  }

  #setPointer(low: number, value: bigint): void {
    this.#plain.set(low, Number(value & 0xffff_ffffn));
    this.#plain.set(low + 4, Number(value >> 32n));
  }
}

function thresholdOf(control: number): number {
  return (control >>> CONTROL.thresholdShift) & 0xff;
}
