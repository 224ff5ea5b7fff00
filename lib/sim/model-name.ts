/** The name of a device model in messages: the name of its class, even if another model stands in front of it. */
import type { DeviceModel } from './model.ts';

/** A model that stands in front of another one: it injects faults, or lags. */
export interface FrontModel extends DeviceModel {
  readonly behind: DeviceModel;
}

/** `EduModel` */
export function modelName(model: DeviceModel): string {
  const name = isFront(model) ? modelName(model.behind) : model.constructor?.name;
  return name === undefined || name === '' || name === 'Object' ? 'the model' : name;
}

function isFront(model: DeviceModel): model is FrontModel {
  return 'behind' in model;
}
