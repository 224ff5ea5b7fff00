/** The ports of a top module, from Verilator's XML. */

export interface Port {
  readonly name: string;
  readonly direction: 'input' | 'output' | 'inout';
  readonly bits: number;
}

/** @param xml the output of `verilator --xml-only` @param top the name of the module */
export function parsePorts(xml: string, top: string): Port[] {
  const widths = new Map<string, number>();
  for (const element of elements(xml, 'basicdtype')) {
    const { id, left, right } = element;
    if (id !== undefined) widths.set(id, Math.abs(Number(left ?? 0) - Number(right ?? 0)) + 1);
  }
  const start = xml.search(new RegExp(`<module [^>]*origName="${top}"`));
  if (start < 0) return [];
  const module = xml.slice(start, xml.indexOf('</module>', start));
  const ports: Port[] = [];
  for (const { dir, origName, dtype_id } of elements(module, 'var')) {
    if (dir !== 'input' && dir !== 'output' && dir !== 'inout') continue;
    ports.push({ name: origName ?? '', direction: dir, bits: widths.get(dtype_id ?? '') ?? 1 });
  }
  return ports;
}

/** Names of all top modules. */
export function parseTops(xml: string): string[] {
  return elements(xml, 'module')
    .filter(({ topModule }) => topModule === '1')
    .map(({ origName }) => origName ?? '');
}

type Attributes = Readonly<Record<string, string | undefined>>;

function elements(xml: string, tag: string): Attributes[] {
  const found: Attributes[] = [];
  for (const [, text = ''] of xml.matchAll(new RegExp(`<${tag} ([^>]*)>`, 'g'))) {
    const pairs = [...text.matchAll(/(\w+)="([^"]*)"/g)];
    found.push(Object.fromEntries(pairs.map(([, name = '', value = '']) => [name, value])));
  }
  return found;
}
