/** Interrupt causes of the model: ICR, ICS, IMS, IMC, EIAC and IVAR (datasheet, 10.2.4). */
import { CAUSE, REGISTER, VECTOR } from './registers.ts';

/** The causes, and the place of their vectors in IVAR. */
const SHIFTS: readonly (readonly [cause: number, shift: number])[] = [
  [CAUSE.receive, VECTOR.receiveShift],
  [CAUSE.transmit, VECTOR.transmitShift],
  [CAUSE.other, VECTOR.otherShift],
];

export class ModelInterrupts {
  readonly #raise: (vector: number) => void;
  #causes = 0;
  #mask = 0;
  #autoClear = 0;
  #vectors = 0;
  /** The causes whose message was sent, and that were not cleared since. */
  #told = 0;

  constructor(raise: (vector: number) => void) {
    this.#raise = raise;
  }

  reset(): void {
    this.#causes = this.#mask = this.#autoClear = this.#vectors = this.#told = 0;
  }

  cause(bits: number): void {
    this.#causes |= bits;
    this.#update();
  }

  /** Undefined if it is not one of these registers. */
  read(offset: number): number | undefined {
    switch (offset) {
      case REGISTER.interruptCause:
      case REGISTER.interruptCauseSet:
        return this.#causes;
      case REGISTER.interruptMaskSet:
        return this.#mask;
      case REGISTER.interruptAutoClear:
        return this.#autoClear;
      case REGISTER.interruptVectors:
        return this.#vectors;
      default:
        return undefined;
    }
  }

  /** @returns true if it is one of these registers */
  write(offset: number, value: number): boolean {
    switch (offset) {
      case REGISTER.interruptCause:
        this.#causes &= ~value;
        break;
      case REGISTER.interruptCauseSet:
        this.#causes |= value;
        break;
      case REGISTER.interruptMaskSet:
        this.#mask |= value;
        break;
      case REGISTER.interruptMaskClear:
        this.#mask &= ~value;
        break;
      case REGISTER.interruptAutoClear:
        this.#autoClear = value;
        break;
      case REGISTER.interruptVectors:
        this.#vectors = value;
        break;
      default:
        return false;
    }
    this.#update();
    return true;
  }

  /**
   * Sends a message for each cause that has become pending and may interrupt. EIAC then clears and masks the cause.
   */
  #update(): void {
    const pending = this.#causes & this.#mask;
    this.#told &= pending;
    const fresh = pending & ~this.#told;
    this.#told |= fresh;
    for (const [cause, shift] of SHIFTS) {
      if ((fresh & cause) === 0) continue;
      const entry = this.#vectors >>> shift;
      const auto = this.#autoClear & cause;
      this.#causes &= ~auto;
      this.#mask &= ~auto;
      this.#told &= ~auto;
      if (entry & VECTOR.valid) this.#raise(entry & VECTOR.mask);
    }
  }
}
