/**
 * Interrupts of a simulated function. They are delivered as an eventfd delivers a real one: from the event loop,
 * never inside another call, and with all interrupts since the last delivery counted into one.
 */
import { describe } from '../arguments.ts';
import { closedError, DmaError } from '../errors.ts';
import type { InterruptAccess, InterruptKind } from '../interrupts/access.ts';
import { Vectors } from '../interrupts/vectors.ts';
import { nameOf } from '../interrupts/wait.ts';
import type { SimulatedConfigSpace } from './config-space.ts';
import type { FunctionDescription } from './model.ts';
import { Silence } from './silence.ts';

export type ArmListener = (kind: InterruptKind, vector: number) => void;

/** The function, as far as its interrupts need it. */
export interface InterruptingFunction {
  /** For messages, e.g. the PCI address. */
  readonly name: string;
  /** The number of actions that are scheduled on its device. */
  scheduled(): number;
  /** A message came for a vector that the driver has never armed. */
  lost(kind: InterruptKind, vector: number): void;
}

const NOTHING_SCHEDULED: InterruptingFunction = { name: 'the function', scheduled: () => 0, lost: () => {} };

/** The interrupts of a simulated function: INTx, MSI and MSI-X. */
export class SimulatedInterrupts implements InterruptAccess {
  readonly #config: SimulatedConfigSpace;
  readonly #limits: Readonly<Record<InterruptKind, number>>;
  readonly #armed = new Vectors<ArmedVector>();
  readonly #keepAlive = new KeepAlive();
  readonly #onArm: ArmListener;
  readonly #function: InterruptingFunction;
  readonly #silence: Silence;
  /** Vectors that were armed at any time. A late message for a vector that was disarmed is no mistake. */
  readonly #known = new Set<number>();
  #kind: InterruptKind | undefined;
  #line = false;
  #lineMasked = false;
  #closed = false;
  #gone: DmaError | undefined;

  /** @param onArm called before a vector is armed; if it throws, arming throws its error */
  constructor(
    { intx, msi, msix }: FunctionDescription,
    config: SimulatedConfigSpace,
    onArm: ArmListener = () => {},
    interrupting: InterruptingFunction = NOTHING_SCHEDULED,
  ) {
    this.#function = interrupting;
    this.#silence = new Silence(interrupting.name, () => interrupting.scheduled());
    this.#config = config;
    this.#onArm = onArm;
    this.#limits = { intx: intx ? 1 : 0, msi: msi ?? 0, msix: msix?.vectors ?? 0 };
  }

  limit(kind: InterruptKind): number {
    return this.#limits[kind];
  }

  enable(
    kind: InterruptKind,
    vector: number,
    deliver: (count: number) => void,
    fail: (error: DmaError) => void = () => {},
  ): void {
    if (this.#closed) {
      throw new DmaError('ENODEV', 'the function is closed', { remedy: 'open it again' });
    }
    if (this.#gone !== undefined) throw this.#gone;
    this.#checkVector(kind, vector);
    this.#checkFree(kind, vector);
    this.#onArm(kind, vector);
    this.#armed.set(vector, new ArmedVector(deliver, fail));
    this.#known.add(vector);
    this.#keepAlive.add(this.#armed.get(vector)!);
    if (this.#kind === undefined) this.#turnOn(kind);
  }

  disable(kind: InterruptKind, vector: number): void {
    const armed = this.#find(kind, vector);
    if (armed === undefined) return;
    armed.disarm();
    this.#keepAlive.delete(armed);
    this.#armed.delete(vector);
    if (this.#armed.size > 0) return;
    this.#kind = undefined;
    if (kind !== 'intx') this.#config.setMessagesEnabled(kind, false);
  }

  unmaskIntx(): void {
    this.#lineMasked = false;
    this.updateLine(this.#line);
  }

  trigger(kind: InterruptKind, vector: number): void {
    if (this.#closed) throw closedError('the function');
    if (this.#gone !== undefined) throw this.#gone;
    const armed = this.#find(kind, vector);
    if (armed === undefined) {
      throw new DmaError('EINVAL', `${kind} vector ${describe(vector)} is not armed`, {
        remedy: 'arm it first',
      });
    }
    armed.signal();
  }

  setRef(kind: InterruptKind, vector: number, ref: boolean): void {
    const armed = this.#find(kind, vector);
    if (armed === undefined) return;
    if (ref) this.#keepAlive.add(armed);
    else this.#keepAlive.delete(armed);
  }

  setWaiting(kind: InterruptKind, vector: number, waiting: boolean): void {
    this.#silence.setWaiting(nameOf({ kind, vector }), waiting);
  }

  explainSilence(): string | undefined {
    return this.#silence.reason;
  }

  close(): void {
    this.#silence.close();
    if (this.#kind !== undefined) for (const vector of this.#armed.numbers) this.disable(this.#kind, vector);
    this.#closed = true;
  }

  /** The device was pulled out. From here on no interrupt is delivered, not even one under way. */
  leave(error: DmaError): void {
    this.#gone = error;
    for (const armed of this.#armed.values) {
      armed.disarm();
      armed.fail(error);
    }
  }

  /** True if the function sends messages instead of moving its line. */
  get messages(): boolean {
    return this.#kind === 'msi' || this.#kind === 'msix';
  }

  /** A message arrived. A message for a vector that is not armed is lost, as on hardware. */
  message(vector: number): void {
    const armed = this.#armed.get(vector);
    if (armed !== undefined) armed.signal();
    else if (!this.#known.has(vector)) this.#function.lost(this.#kind!, vector);
  }

  /** True if a message of this vector reaches the driver. */
  isArmed(vector: number): boolean {
    return this.#armed.has(vector);
  }

  /** The INTx line is now at `level`. It is level triggered: it fires while it is up and not masked. */
  updateLine(level: boolean): void {
    this.#line = level;
    if (!level || this.#lineMasked || this.#kind !== 'intx' || this.#config.intxDisabled) return;
    this.#lineMasked = true;
    this.#armed.get(0)?.signal();
  }

  /** The command register changed. */
  updateCommand(): void {
    this.updateLine(this.#line);
  }

  #turnOn(kind: InterruptKind): void {
    this.#kind = kind;
    this.#lineMasked = false;
    if (kind === 'intx') this.updateLine(this.#line);
    else this.#config.setMessagesEnabled(kind, true);
  }

  #find(kind: InterruptKind, vector: number): ArmedVector | undefined {
    return this.#kind === kind ? this.#armed.get(vector) : undefined;
  }

  #checkVector(kind: InterruptKind, vector: number): void {
    const limit = this.#limits[kind];
    if (Number.isInteger(vector) && vector >= 0 && vector < limit) return;
    throw new DmaError('EINVAL', `no ${kind} vector ${describe(vector)}`, {
      remedy: limit === 0 ? `the function has no ${kind}` : `it has vectors 0 to ${limit - 1}`,
    });
  }

  #checkFree(kind: InterruptKind, vector: number): void {
    if (this.#kind !== undefined && this.#kind !== kind) {
      throw new DmaError('EBUSY', `${this.#kind} is armed`, { remedy: `disarm it before arming ${kind}` });
    }
    if (this.#armed.has(vector)) {
      throw new DmaError('EBUSY', `${kind} vector ${vector} is armed`, { remedy: 'disarm it first' });
    }
  }
}

class ArmedVector {
  /** To be called when the device is gone. */
  readonly fail: (error: DmaError) => void;
  readonly #deliver: (count: number) => void;
  #pending = 0;
  #turn: NodeJS.Immediate | undefined;
  /** Delivers the interrupts that came. It is one function object for all turns. */
  readonly #onTurn = (): void => {
    const count = this.#pending;
    this.#pending = 0;
    this.#turn = undefined;
    this.#deliver(count);
  };

  constructor(deliver: (count: number) => void, fail: (error: DmaError) => void) {
    this.fail = fail;
    this.#deliver = deliver;
  }

  signal(): void {
    this.#pending++;
    this.#turn ??= setImmediate(this.#onTurn);
  }

  disarm(): void {
    clearImmediate(this.#turn);
  }
}

/** Keeps the process alive while it holds a vector, as the poll of an eventfd does. */
class KeepAlive {
  static readonly #LONGEST_DELAY = 2 ** 31 - 1;

  readonly #holders = new Set<ArmedVector>();
  #timer: NodeJS.Timeout | undefined;

  add(holder: ArmedVector): void {
    this.#holders.add(holder);
    this.#timer ??= setInterval(() => {}, KeepAlive.#LONGEST_DELAY);
  }

  delete(holder: ArmedVector): void {
    this.#holders.delete(holder);
    if (this.#holders.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
