/**
 * A design in RTL as a device: unchanged drivers run against Verilog.
 *
 * @module userdma/rtl
 */

export { RtlModel, type RtlOptions, type WaveOptions } from './model.ts';
export { type ProcessOptions, processDesign } from './process.ts';
export type {
  Design,
  DesignDescription,
  Simulator,
  SimulatorHost,
  TrafficOptions,
  WaveWindow,
} from './simulator.ts';
export { type BuildOptions, buildDesign } from './verilate/build.ts';
export { wasmDesign } from './wasm.ts';
