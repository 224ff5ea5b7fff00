/**
 * Resets that a driver causes by a write to configuration space, instead of by `PciFunction.reset` or
 * `setPowerState`. There are two: a function-level reset (PCI Express 5.0, 7.5.3.4; Advanced Features ECN), and
 * leaving D3hot when the function does not keep its state. The device performs the reset. vfio-pci restores the
 * registers that the host needs, as after every other reset.
 */
import { PCI_CAPABILITY } from './capabilities/capability.ts';
import type { ConfigSpace } from './config-space.ts';
import type { ResetKind } from './reset.ts';
import type { ConfigAccess } from './transport.ts';

/** Offsets of the bytes that hold the reset bits, within their capability. */
const EXPRESS_CONTROL = 9;
const EXPRESS_FLR = 1 << 7;
const ADVANCED_CAPABILITIES = 3;
const ADVANCED_FLR_AND_PENDING = 3;
const ADVANCED_CONTROL = 4;
const ADVANCED_FLR = 1 << 0;
const POWER_CONTROL = 4;

/** Configuration space that reports the resets that the driver causes through it. */
export class ConfigWithResets implements ConfigAccess {
  readonly size: number;
  readonly #access: ConfigAccess;
  readonly #config: ConfigSpace;
  readonly #onReset: (kind: ResetKind) => void;

  /**
   * @param config over `access`
   * @param onReset called after the write that reset the function
   */
  constructor(access: ConfigAccess, config: ConfigSpace, onReset: (kind: ResetKind) => void) {
    this.size = access.size;
    this.#access = access;
    this.#config = config;
    this.#onReset = onReset;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    return this.#access.read(offset, width);
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    const resets = this.#resets(offset, width, value);
    const wasAsleep = this.#forgetsNow(offset, width);
    this.#access.write(offset, width, value);
    if (resets) this.#onReset('function');
    else if (wasAsleep && this.#config.powerManagement?.state === 'D0') this.#onReset('power');
  }

  #resets(offset: number, width: number, value: number): boolean {
    const sets = (register: number, bit: number): boolean => {
      const at = register - offset;
      return at >= 0 && at < width && ((value >>> (8 * at)) & bit) !== 0;
    };
    const { express } = this.#config;
    if (express !== undefined && sets(express.offset + EXPRESS_CONTROL, EXPRESS_FLR)) {
      return express.functionLevelReset;
    }
    const advanced = this.#config.findCapability(PCI_CAPABILITY.advancedFeatures);
    if (advanced === undefined || !sets(advanced + ADVANCED_CONTROL, ADVANCED_FLR)) return false;
    const offered = this.#access.read(advanced + ADVANCED_CAPABILITIES, 1) & ADVANCED_FLR_AND_PENDING;
    return offered === ADVANCED_FLR_AND_PENDING;
  }

  /** Returns true if a write of the power state may take the function out of D3hot and make it lose its registers. */
  #forgetsNow(offset: number, width: number): boolean {
    const { powerManagement } = this.#config;
    if (powerManagement === undefined) return false;
    const at = powerManagement.offset + POWER_CONTROL - offset;
    return at >= 0 && at < width && powerManagement.state === 'D3hot' && !powerManagement.noSoftReset;
  }
}
