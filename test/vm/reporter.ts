/**
 * A reporter for `node --test` that writes one line of JSON for each test, at once, so that the host knows what
 * passed even when the guest dies on the next test. The last line says that the run came to its end.
 */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

export type Result = 'passed' | 'failed' | 'skipped';
export type ReportLine =
  | { readonly result: Result; readonly name: string; readonly file: string; readonly reason?: string }
  | { readonly end: true };

/** The part of a pass or fail event that decides; Node 20's types do not know all of it. */
interface Verdict {
  readonly name: string;
  readonly file?: string;
  readonly skip?: string | boolean;
  readonly todo?: string | boolean;
  readonly details?: { readonly type?: string; readonly error?: { readonly failureType?: string } };
}

function result(type: string, { name, file, skip, todo, details }: Verdict): Result | undefined {
  // A suite that fails only because of its tests is not one more failure; one whose hook fails is.
  const hookFailed = type === 'test:fail' && details?.error?.failureType !== 'subtestsFailed';
  if (details?.type === 'suite' && !hookFailed) return undefined;
  if (skip !== undefined || todo !== undefined) return 'skipped';
  // A file that registers no test passes as a whole, yet proves nothing.
  return type === 'test:pass' && name !== file ? 'passed' : 'failed';
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const verdict = event.data as Verdict;
    const outcome = result(event.type, verdict);
    const why = [verdict.skip, verdict.todo].find((text) => typeof text === 'string' && text !== '');
    const file = verdict.file === undefined ? '' : relative(process.cwd(), verdict.file);
    // A file that fails as a whole has its path as its name.
    const name = verdict.name === verdict.file ? file : verdict.name;
    const line: ReportLine = {
      ...{ result: outcome!, name, file },
      ...(typeof why === 'string' ? { reason: why } : {}),
    };
    if (outcome !== undefined) yield `${JSON.stringify(line)}\n`;
  }
  const end: ReportLine = { end: true };
  yield `${JSON.stringify(end)}\n`;
}
