/**
 * Tools for the tests of a driver.
 *
 * @module userdma/testing
 */
export {
  FaultInjector,
  type FaultInjectorOptions,
  type FaultKind,
  type FaultTiming,
  type Injection,
} from '../sim/index.ts';
export {
  type AfterEach,
  checkDmaAfterEach,
  type DmaCheck,
  type DmaCheckOptions,
  HARD_MACHINE,
} from './after-each.ts';
export { Captured } from './captured.ts';
export { RegisterScript, type RegisterScriptOptions, type ScriptAddress } from './register-script.ts';
export { type DmaTarget, expectNoDmaErrors } from './reports.ts';
export type { Answer, Expected } from './script-step.ts';
