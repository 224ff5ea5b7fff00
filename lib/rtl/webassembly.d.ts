/** The part of WebAssembly's interface that wasm.ts uses: TypeScript has it only in its library for browsers. */
declare global {
  namespace WebAssembly {
    type ImportFunction = (...values: never[]) => unknown;
    type ModuleImports = Record<string, ImportFunction>;
    type Imports = Record<string, ModuleImports>;
    class Memory {
      readonly buffer: ArrayBuffer;
      grow(pages: number): number;
    }
    class Module {
      constructor(bytes: Uint8Array<ArrayBuffer>);
    }
    class Instance {
      constructor(module: Module, imports: Imports);
      readonly exports: Record<string, unknown>;
    }
  }
}

export {};
