/** The C++ file of one design: its ports, and their meaning. Everything else is in native/rtl. */
import type { Layout } from './layout.ts';
import type { Port } from './ports.ts';

/** Verilator's prefix for the classes of a design. */
export const PREFIX = 'Vdesign';

export function glueFor(ports: readonly Port[], layout: Layout): string {
  const { description } = layout;
  const quoted = (text: string | undefined): string =>
    text === undefined ? 'nullptr' : JSON.stringify(text);
  const list = (name: string, texts: readonly string[]): string =>
    `const char* const ${name}[] = {${[...texts.map(quoted), 'nullptr'].join(', ')}};`;
  return `// Made by userdma rtl build.
#include "${PREFIX}.h"
#include "${PREFIX}___024root.h"
#include "bridge.h"

namespace {
using Design = ${PREFIX};
using Root = ${PREFIX}___024root;
${list(
  'MEMORIES',
  description.memories.map(({ prefix }) => prefix),
)}
${list('SINKS', description.sinks)}
${list('SOURCES', description.sources)}
const userdma::rtl::Layout LAYOUT = {
    ${quoted(layout.clock)}, ${quoted(layout.reset)}, ${layout.resetActiveLow},
    ${quoted(description.registers.prefix)}, MEMORIES, SINKS, SOURCES, ${quoted(layout.intx)}, ${quoted(layout.vectors)}};
const char DESCRIPTION[] = ${JSON.stringify(JSON.stringify(description))};
void connect(Design& top, userdma::rtl::Ports& ports) {
${ports.map(({ name, bits }) => `  ports.add(${quoted(name)}, top.${name}, ${bits});`).join('\n')}
}
}  // namespace

#ifdef __wasm__
#include "wasm_main.h"
#else
#include "process_main.h"
#endif
`;
}
