/**
 * A design in RTL as a device: unchanged drivers run against Verilog.
 *
 * @module userdma/rtl
 */

export { type CheckOptions, type CheckResult, type CopyRecipe, type CopyStep, checkDesign } from './check.ts';
export type { BeatOfBurst, ByteWrite } from './history.ts';
export { RtlModel, type RtlOptions, type RtlSnapshot, type WaveOptions } from './model.ts';
export { type ProcessOptions, processDesign } from './process.ts';
export type {
  Design,
  DesignDescription,
  Simulator,
  SimulatorHost,
  TrafficOptions,
  WaveWindow,
  WriteBurst,
} from './simulator.ts';
export { type BuildOptions, buildDesign } from './verilate/build.ts';
export { wasmDesign } from './wasm.ts';
