/**
 * What a reader of a page types, as a script of bash:
 *
 *      ```sh                         commands, in the folder that the commands before them went to
 *      ```ts run title=main.ts       a file, written when the reader comes to it
 *      ```text output                what the commands before it print, or else the file before it when it is run
 *
 * Pages end, for this reader, at the first heading that wants a virtual machine.
 */

/** @param typed what is typed instead of a line of the page */
export function transcript(page: string, typed: Readonly<Record<string, string>>): string {
  const [readable = ''] = page.split(/^## .*virtual machine.*$/m);
  const lines = ['set -euo pipefail', 'said=$(mktemp)'];
  let last: 'commands' | string = 'commands';
  for (const [, info = '', body = ''] of readable.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)) {
    const [language, ...words] = info.split(' ');
    const title = words.find((word) => word.startsWith('title='))?.slice('title='.length);
    if (language === 'sh') {
      lines.push(`{\n${replaceLines(body, typed)}} >"$said"`);
      last = 'commands';
    } else if (title !== undefined) {
      lines.push(`cat >${title} <<'END OF FILE'\n${body}END OF FILE`);
      last = title;
    } else if (words.includes('output')) {
      if (last !== 'commands') lines.push(`{ npx tsc; node out/${last.replace(/\.ts$/, '.js')}; } >"$said"`);
      lines.push(`diff - "$said" <<'END OF OUTPUT'\n${body}END OF OUTPUT`);
    }
  }
  return lines.join('\n');
}

function replaceLines(text: string, typed: Readonly<Record<string, string>>): string {
  return text.replace(/^.*$/gm, (line) => typed[line] ?? line);
}
