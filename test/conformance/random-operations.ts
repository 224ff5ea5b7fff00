/** Random operations as numbers, and the action that each number stands for. */
import type { RandomDriver } from './random-driver.ts';
import type { World } from './worlds.ts';

/** The number of an action, and three numbers for its parameters. */
export type Operation = readonly [number, number, number, number];

export type Action = (driver: RandomDriver, a: number, b: number, c: number) => void | Promise<void>;

/**
 * The actions that the first number of an operation chooses from. On hardware the device acts less often, because each
 * of its accesses takes long.
 */
export function actions({ simulated }: World): readonly Action[] {
  const cpu: Action[] = [
    ...Array<Action>(4).fill((driver, a, b) => driver.memory.allocate(a, b)),
    ...Array<Action>(3).fill((driver, a, b) => driver.memory.takeForeign(a, b)),
    ...Array<Action>(4).fill((driver, a) => driver.memory.release(a)),
    ...Array<Action>(9).fill((driver, a, b, c) => driver.map(a, b, c)),
    ...Array<Action>(3).fill((driver, a, b, c) => driver.mapAgain(a, b, c)),
    ...Array<Action>(3).fill((driver, a, b, c) => driver.mapList(a, b, c)),
    ...Array<Action>(5).fill((driver, a, b, c) => driver.syncForCpu(a, b, c)),
    ...Array<Action>(5).fill((driver, a, b, c) => driver.syncForDevice(a, b, c)),
    ...Array<Action>(8).fill((driver, a, b, c) => driver.cpuWrites(a, b, c)),
    ...Array<Action>(8).fill((driver, a) => driver.unmap(a)),
    ...Array<Action>(2).fill((driver, a, b, c) => driver.mapPages(a, b, c)),
    (driver, a, b) => driver.syncNothing(a, b),
    (driver, a) => driver.changeBoundary(a),
    (driver, a, b) => driver.changeMasks(a, b),
    (driver, a, b) => driver.misuse(a, b),
  ];
  const device: Action[] = [
    (driver, a, b, c) => driver.deviceWrites(a, b, c),
    (driver, a, b, c) => driver.deviceReads(a, b, c),
  ];
  const turns = simulated ? 8 : 1;
  const strays: Action[] = simulated ? [(driver, a) => driver.deviceStrays(a)] : [];
  return [...cpu, ...Array(turns).fill(device).flat(), ...strays];
}
