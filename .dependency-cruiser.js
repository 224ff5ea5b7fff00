/**
 * Who may import what (docs/architecture.md, "Floors"). A folder imports from its own floor and from those below it:
 *
 *      test, examples
 *      cli
 *      doctor, vm
 *      testing
 *      rtl
 *      sim
 *      pci, uio
 *      debug
 *      dma
 *      memory, iommu
 *      registers, interrupts, rings, native
 *      files of lib itself                     errors, arguments, direction, cache ...
 *
 * `npm run lint` fails on an import that goes up, on a cycle between folders, and on a cycle of values between files.
 * Types may go round in a circle between files of one folder: nothing is loaded for them.
 */

/** Lowest first. What is beside the folders of `lib` is the ground, but for the public surface, lib/index.ts. */
const FLOORS = [
  ['^lib/(?!index\\.ts$)[^/]+\\.ts$'],
  ['^lib/(registers|interrupts|rings|native)/'],
  ['^lib/(memory|iommu)/'],
  ['^lib/dma/'],
  ['^lib/debug/'],
  ['^lib/(pci|uio)/'],
  ['^lib/sim/'],
  ['^lib/rtl/'],
  ['^lib/testing/'],
  ['^lib/(doctor|vm)/'],
  ['^lib/cli/'],
].flat();

/** No file of a floor imports from one above it; only what is outside of `lib` imports the public surface. */
const upwards = FLOORS.map((floor, index) => ({
  name: `floor-${index}-imports-no-higher-one`,
  comment: 'Turn the dependency round: let the higher floor pass in what the lower one needs.',
  severity: 'error',
  from: { path: floor },
  to: { path: [...FLOORS.slice(index + 1), '^lib/index\\.ts$', '^(test|examples)/'] },
}));

export default {
  forbidden: [
    ...upwards,
    {
      name: 'public-surface-imports-no-simulation',
      comment: 'What uses userdma/sim or userdma/testing imports them by itself.',
      severity: 'error',
      from: { path: '^lib/index\\.ts$' },
      to: { path: ['^lib/(sim|testing)/', '^(test|examples)/'] },
    },
    {
      name: 'dma-knows-no-system',
      comment: 'lib/dma is pure TypeScript over its seams: no addon, no bus, no simulation, no debugging.',
      severity: 'error',
      from: { path: '^lib/dma/' },
      to: { path: '^lib/(native|pci|uio|sim|debug|testing|interrupts|registers)/' },
    },
    {
      name: 'examples-import-no-tests',
      comment: 'Examples are programs of their own.',
      severity: 'error',
      from: { path: '^examples/' },
      to: { path: '^test/' },
    },
    {
      name: 'no-cycle-of-folders',
      comment: 'Move what both need to a folder that both may import.',
      severity: 'error',
      scope: 'folder',
      from: { path: '^lib' },
      to: { circular: true },
    },
    {
      name: 'no-cycle-of-values',
      comment: 'Files that need values of each other cannot be loaded one after the other.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'nothing-unresolved',
      comment:
        'A file that is not there, or a package that is not in package.json. This package itself may not be built.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^userdma(/|$)' },
    },
  ],
  options: {
    tsPreCompilationDeps: 'specify',
    doNotFollow: { path: 'node_modules|^dist/' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.mjs'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
