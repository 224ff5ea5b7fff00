/**
 * Call sites in the program. Capturing a stack takes microseconds, a hundred times as long as a mapping. So a stack
 * is captured for the first mappings of a device, and later for every n-th. It is formatted only when a program reads
 * its report.
 */

/** A captured stack. */
export type Site = Error;

/** Which stacks are captured: all, those of the first and of some later events, or none. */
export type Stacks = 'all' | 'sampled' | 'none';

/**
 * The number of frames to keep for frequent events. Some of them belong to this library, and reports leave them out.
 */
const DEPTH = 10;
/** The number of frames to keep for a mistake, which is rare. */
const MISTAKE_DEPTH = 40;

/** The present call site. */
export function captureSite(depth = DEPTH): Site {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = depth;
  const site = new Error();
  Error.stackTraceLimit = limit;
  return site;
}

/** As `captureSite`, with every frame that matters. */
export function captureMistake(): Site {
  return captureSite(MISTAKE_DEPTH);
}

/**
 * One frame a line, innermost first, without the frames of this library: so the first is a line of the driver.
 * Undefined if there is no site, or if all its frames are in this library.
 */
export function describeSite(site: Site | undefined): string | undefined {
  const frames = framesOf(site).filter((frame) => !isOwn(frame));
  return frames.length === 0 ? undefined : frames.join('\n');
}

function framesOf(site: Site | undefined): string[] {
  // A program may have its own Error.prepareStackTrace, which may return any value.
  const stack: unknown = site?.stack;
  return typeof stack === 'string' ? stack.split('\n').filter((line) => /^\s+at /.test(line)) : [];
}

/** True if a frame is in this library: its file is in the folder of this file, as stacks spell it. */
function isOwn(frame: string): boolean {
  return frame.includes(ownFolder());
}

let folder: string | undefined;

/** The folder is read from a stack and not from `import.meta.url`, because source maps do not change the latter. */
function ownFolder(): string {
  folder ??= folderIn(framesOf(captureSite())[0] ?? '');
  return folder;
}

/**
 * `at captureSite (file:///a/lib/debug/sites.js:15:16)` -> `file:///a/lib/`; the published package has chunks instead.
 */
function folderIn(frame: string): string {
  const end = frame.search(/debug[/\\]sites\.[jt]s|chunks[/\\]userdma-\w+\.js/);
  const start = frame.includes('(') ? frame.indexOf('(') + 1 : frame.indexOf('at ') + 3;
  // The library is bundled with the program, so its frames cannot be recognised.
  return end < 0 ? '\0' : frame.slice(start, end);
}

/** Chooses the events for which a site is captured. */
export class Sampler {
  private readonly first: number;
  private readonly interval: number;
  private left = 0;
  private count = 0;

  /**
   * @param first the number of events that are all captured
   * @param interval after them, one of this many is captured
   */
  constructor(first: number, interval: number) {
    this.first = first;
    this.interval = interval;
    this.left = first > 0 ? 0 : interval;
  }

  /**
   * @param first for 'sampled', the default
   * @param interval for 'sampled', too
   */
  static for(stacks: Stacks | undefined, first: number, interval: number): Sampler {
    if (stacks === 'all') return new Sampler(Number.MAX_SAFE_INTEGER, 1);
    return stacks === 'none' ? new Sampler(0, Number.MAX_SAFE_INTEGER) : new Sampler(first, interval);
  }

  /** True if the site of this event is to be captured. */
  next(): boolean {
    if (--this.left > 0) return false;
    if (this.count < this.first) this.count++;
    else this.left = this.interval;
    return true;
  }
}
