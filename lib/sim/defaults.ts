/**
 * The options of a simulated machine that the program does not set. By default the machine is plain. In the tests of
 * drivers it is hard on the driver.
 */
import type { SimulateOptions } from './options.ts';

let defaults: SimulateOptions = {};

/** Sets the options for every machine that is made from now on. */
export function setMachineDefaults(options: SimulateOptions): void {
  defaults = options;
}

export function withDefaults(options: SimulateOptions): SimulateOptions {
  return { ...defaults, ...options };
}
