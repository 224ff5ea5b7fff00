/** Parts of documents that programs write: they stand between two marks, `<!-- name -->` and `<!-- end of name -->`. */

/** The document with this text between the marks. @throws Error it has no such marks */
export function withPart(document: string, name: string, text: string): string {
  const begin = document.indexOf(`<!-- ${name} -->\n`);
  const end = document.indexOf(`<!-- end of ${name} -->\n`);
  if (begin < 0 || end < begin) throw new Error(`the document has no marks for the ${name}`);
  return document.slice(0, document.indexOf('\n', begin) + 1) + text + document.slice(end);
}

/** The lines of a table in Markdown. */
export function tableLines(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
}
