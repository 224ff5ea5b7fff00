/**
 * Lets dependency-cruiser read TypeScript: it wants the JavaScript API that TypeScript has up to version 6, and version 7
 * has not. The package @typescript/typescript6 brings it, and stands in for `typescript` in that one process:
 *
 *      node --import ./test/layers/typescript.js node_modules/.bin/depcruise ...
 */
import Module from 'node:module';

const STAND_IN = '@typescript/typescript6';

// It requires the package.json, for the version, and imports the package.
const resolveFilename = Module._resolveFilename;
Module._resolveFilename = (name, ...rest) =>
  resolveFilename(name === 'typescript/package.json' ? `${STAND_IN}/package.json` : name, ...rest);

// Node.js 20 has hooks in a thread of their own only, of which Node.js 26 warns.
if (Module.registerHooks === undefined) {
  const hook = `export const resolve = (name, context, next) =>
    next(name === 'typescript' ? '${STAND_IN}' : name, context);`;
  Module.register(`data:text/javascript,${encodeURIComponent(hook)}`);
} else {
  Module.registerHooks({
    resolve: (name, context, next) => next(name === 'typescript' ? STAND_IN : name, context),
  });
}
