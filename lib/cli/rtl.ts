/** userdma rtl build: from Verilog to a simulator. */
import { buildDesign } from '../rtl/index.ts';
import { toJson } from './output.ts';

export interface RtlBuild {
  readonly json: boolean;
  readonly out: string;
  readonly top?: string;
  readonly wasm?: boolean;
  readonly fst?: boolean;
  readonly clock?: string;
  readonly reset?: string;
  readonly registers?: string;
  readonly memory?: readonly string[];
  readonly include?: readonly string[];
}

export async function build(sources: readonly string[], options: RtlBuild): Promise<void> {
  const { json, wasm, fst, memory, ...rest } = options;
  const built = await buildDesign({
    ...rest,
    sources,
    target: wasm ? 'wasm' : 'process',
    waves: fst ? 'fst' : 'vcd',
    ...(memory !== undefined && { memories: memory }),
  });
  if (json) {
    console.log(toJson(built));
    return;
  }
  const { description, clock, reset } = built.layout;
  const memories = description.memories.map(({ prefix, dataBytes }) => `${prefix}* (${8 * dataBytes} bits)`);
  console.log(`${built.file}: ${description.top}, clock ${clock}, reset ${reset}`);
  console.log(`registers ${description.registers.prefix}*, memory ${memories.join(', ') || 'none'}`);
}
