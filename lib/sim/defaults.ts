/**
 * What a simulated machine is like where the program does not say: plain, or hard on the driver in the tests of
 * drivers.
 */
import type { SimulateOptions } from './simulate.ts';

let defaults: SimulateOptions = {};

/** For every machine made from now on. */
export function setMachineDefaults(options: SimulateOptions): void {
  defaults = options;
}

export function withDefaults(options: SimulateOptions): SimulateOptions {
  return { ...defaults, ...options };
}
