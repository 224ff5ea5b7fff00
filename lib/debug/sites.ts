/**
 * Where in the program something was done. Capturing a stack takes microseconds, a hundred times what a mapping does:
 * the first mappings of a device have theirs, of the many after them every so many. A stack is formatted only
 * when a report of it is read.
 */

/** A captured stack. */
export type Site = Error;

/** Which stacks are captured: every one, those of the first and then a few, none. */
export type Stacks = 'all' | 'sampled' | 'none';

/** Frames kept of what is done all the time. Some of them are this library's own, and are left out of reports. */
const DEPTH = 10;
/** Frames kept of a mistake, which is rare. */
const MISTAKE_DEPTH = 40;

/** Where the caller is now. */
export function captureSite(depth = DEPTH): Site {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = depth;
  const site = new Error();
  Error.stackTraceLimit = limit;
  return site;
}

/** The same with every frame that matters. */
export function captureMistake(): Site {
  return captureSite(MISTAKE_DEPTH);
}

/**
 * Innermost frame first, one a line, without the frames of this library: the first is the line of the driver. Undefined
 * when there is no site, or nothing but this library in it.
 */
export function describeSite(site: Site | undefined): string | undefined {
  const frames = framesOf(site).filter((frame) => !isOwn(frame));
  return frames.length === 0 ? undefined : frames.join('\n');
}

function framesOf(site: Site | undefined): string[] {
  // A program may have its own Error.prepareStackTrace, which may make anything.
  const stack: unknown = site?.stack;
  return typeof stack === 'string' ? stack.split('\n').filter((line) => /^\s+at /.test(line)) : [];
}

/** Whether a frame is in this library: its file lies in the folder that this one is in, as stacks have it. */
function isOwn(frame: string): boolean {
  return frame.includes(ownFolder());
}

let folder: string | undefined;

/** Learned from a stack and not from `import.meta.url`, which source maps have no part in. */
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
  // Bundled with the program: there is no telling which frames are ours.
  return end < 0 ? '\0' : frame.slice(start, end);
}

/** Says for which of many events a site is captured. */
export class Sampler {
  private readonly first: number;
  private readonly interval: number;
  private left = 0;
  private count = 0;

  /** @param first events that all are @param interval of the later ones, every so many */
  constructor(first: number, interval: number) {
    this.first = first;
    this.interval = interval;
    this.left = first > 0 ? 0 : interval;
  }

  /** @param first, interval of 'sampled', the default */
  static for(stacks: Stacks | undefined, first: number, interval: number): Sampler {
    if (stacks === 'all') return new Sampler(Number.MAX_SAFE_INTEGER, 1);
    return stacks === 'none' ? new Sampler(0, Number.MAX_SAFE_INTEGER) : new Sampler(first, interval);
  }

  /** Whether it is this event's turn. */
  next(): boolean {
    if (--this.left > 0) return false;
    if (this.count < this.first) this.count++;
    else this.left = this.interval;
    return true;
  }
}
