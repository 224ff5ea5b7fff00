/**
 * Checks of the arguments of public functions. They are in one place, so that the same mistake gets the same text
 * everywhere. Every check throws DmaError EINVAL. The public functions call them; behind that border, values have
 * their declared types.
 */
import { constants } from 'node:buffer';
import { DmaError } from './errors.ts';

/**
 * Throws DmaError EINVAL unless `value` is valid.
 * @param what its name, e.g. `the size of a coherent buffer`
 */
export type Check = (value: unknown, what: string) => void;

/** A check for each option. An option that is undefined counts as not given. */
export type OptionChecks<Options> = { readonly [Name in keyof Options]-?: Check };

/** Longest part of a caller's text that a message repeats. */
const LONGEST_TEXT = 60;
/** An option name with more wrong letters than this counts as another name, not as a typing error. */
const MOST_WRONG_LETTERS = 2;

/**
 * A value as a message shows it. The type is included if it may be the mistake: `the string '4096'`, `the bigint 5n`.
 */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return `the string '${value.length > LONGEST_TEXT ? `${value.slice(0, LONGEST_TEXT)}...` : value}'`;
    case 'bigint':
      return `the bigint ${value}n`;
    case 'symbol':
      return 'a symbol';
    case 'function':
      return describeFunction(value);
    case 'object':
      return value === null ? 'null' : describeObject(value);
    default:
      return String(value);
  }
}

/** A name that was not found: a string in quotes, anything else as `describe` shows it. */
export function quote(name: unknown): string {
  return typeof name === 'string' ? JSON.stringify(name) : describe(name);
}

/** The error of an argument that is not valid. */
export function argumentError(what: string, value: unknown, remedy: string): DmaError {
  return new DmaError('EINVAL', `${what} is ${describe(value)}`, { remedy });
}

/** A byte count: a whole number from 1 to `max` (default 2^53 - 1). */
export function checkSize(size: unknown, what: string, max: number = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(size) && (size as number) > 0 && (size as number) <= max) return;
  throw argumentError(what, size, `pass a whole number of bytes from 1 to ${max}`);
}

/**
 * Checks a number of bytes for one typed array. Its maximum length is 4 GiB on Node.js 20, and far more on later
 * ones. V8 makes longer ArrayBuffers, but throws a RangeError for a view of one.
 * @throws DmaError ENOMEM
 */
export function checkArrayLength(size: number): void {
  if (size <= constants.MAX_LENGTH) return;
  throw new DmaError('ENOMEM', `${size} bytes wanted, one ArrayBuffer can have ${constants.MAX_LENGTH}`, {
    remedy: 'allocate it in pieces: allocNoncontiguous does where there is an IOMMU',
  });
}

/** A whole number from `min` to `max`. */
export function checkWhole(value: unknown, what: string, min: number, max: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return;
  throw argumentError(what, value, `pass a whole number from ${min} to ${max}`);
}

/** `checkWhole` as a check of an option. */
export function whole(min: number, max: number): Check {
  return (value, what) => checkWhole(value, what, min, max);
}

export function checkBoolean(value: unknown, what: string): void {
  if (typeof value !== 'boolean') throw argumentError(what, value, 'pass true or false');
}

export function checkText(value: unknown, what: string): void {
  if (typeof value !== 'string') throw argumentError(what, value, 'pass a string');
}

/** A function that can be called. A class cannot be called. */
export function checkFunction(value: unknown, what: string): void {
  if (!isCallable(value)) throw argumentError(what, value, 'pass a function');
}

/** A callback for events. */
export function checkListener(listener: unknown): void {
  checkFunction(listener, 'a listener');
}

/** The methods that an object of an interface must have. */
export function checkMethods(value: unknown, what: string, names: readonly string[], remedy: string): void {
  const object = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  if (object !== undefined && names.every((name) => isCallable(object[name]))) return;
  throw argumentError(what, value, remedy);
}

/** An object that the library made. */
export function checkInstance(
  Class: abstract new (...parameters: never[]) => unknown,
  remedy: string,
): Check {
  return (value, what) => {
    if (!(value instanceof Class)) throw argumentError(what, value, remedy);
  };
}

/** Bytes that can be read. `instanceof` would also accept an object that has only the prototype. */
export function checkBytes(value: unknown, what: string): void {
  if (ArrayBuffer.isView(value) && value instanceof Uint8Array) return;
  throw argumentError(what, value, 'pass a Uint8Array or a Buffer');
}

/** Accepts one of a few values. */
export function oneOf(...values: readonly unknown[]): Check {
  return (value, what) => {
    if (values.includes(value)) return;
    throw argumentError(what, value, `pass ${values.map(showChoice).join(' or ')}`);
  };
}

/** For an option that is checked later, by the code that uses it. */
export function checkedLater(): void {}

/**
 * Checks an options object, or undefined. Every option must have a known name, and pass its check. An unknown name is
 * refused, so that a typing error does not silently mean the default.
 * @param what the function or the option they belong to
 */
export function checkOptions<Options>(
  options: unknown,
  what: string,
  checks: OptionChecks<Required<Options>>,
): void {
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw argumentError(`the options of ${what}`, options, 'pass an object, or nothing');
  }
  const known = checks as Readonly<Record<string, Check>>;
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) throw unknownOption(name, what, Object.keys(known));
    if (value !== undefined) known[name]!(value, `option ${name} of ${what}`);
  }
}

/** `checkOptions` as a check of an option that is itself an object of options. */
export function options<Options>(checks: OptionChecks<Required<Options>>): Check {
  return (value, what) => checkOptions<Options>(value, what, checks);
}

function unknownOption(name: string, what: string, known: readonly string[]): DmaError {
  const meant = known.filter(
    (one) => wrongLetters(one.toLowerCase(), name.toLowerCase()) <= MOST_WRONG_LETTERS,
  );
  const remedy = meant.length > 0 ? `did you mean ${meant.join(' or ')}?` : `there are ${known.join(', ')}`;
  return new DmaError('EINVAL', `${what} has no option ${describe(name).slice('the string '.length)}`, {
    remedy,
  });
}

/** The number of letters to insert, delete or replace to turn one into the other (Levenshtein). */
function wrongLetters(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const replaced = row[j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[other.length]!;
}

function showChoice(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value);
}

/** Names are read with care, because a proxy or a getter of the caller may throw. */
function describeFunction(value: { readonly name: string }): string {
  try {
    return `the ${isClass(value) ? 'class' : 'function'} ${value.name || '(no name)'}`;
  } catch {
    return 'a function';
  }
}

/** True if it is a function, but not a class. */
export function isCallable(value: unknown): boolean {
  return typeof value === 'function' && !isClass(value);
}

function isClass(value: unknown): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}

function describeObject(value: object): string {
  try {
    if (Array.isArray(value)) return `an array of ${value.length}`;
    const name: unknown = value.constructor?.name;
    return typeof name === 'string' && name !== '' && name !== 'Object'
      ? `an object of class ${name}`
      : 'an object';
  } catch {
    return 'an object';
  }
}
