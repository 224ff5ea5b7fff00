/** The options of opening a function, and their checks. They are the same in every world. */
import { argumentError, checkInstance, checkOptions, type OptionChecks, options } from '../arguments.ts';
import { checkDebug } from '../debug/options.ts';
import { IommuDomain } from '../dma/operations/domain.ts';
import { STREAMING_CHECKS } from '../dma/streaming/streaming.ts';
import { checkHugePages } from '../memory/hugepages.ts';
import { checkNode } from '../memory/numa.ts';
import { checkGrace } from './presence.ts';
import type { OpenOptions } from './transport.ts';

export const OPEN_CHECKS: OptionChecks<Required<OpenOptions>> = {
  iommu: checkInterface,
  vfToken: checkToken,
  hugepages: checkHugePages,
  numaNode: checkNode,
  streaming: options(STREAMING_CHECKS),
  debug: checkDebug,
  domain: checkInstance(IommuDomain, 'pass the domain of an open function'),
  releaseGrace: checkGrace,
};

function checkInterface(wanted: unknown, what: string): void {
  if (wanted === undefined || wanted === 'iommufd' || wanted === 'container') return;
  throw argumentError(what, wanted, "pass 'iommufd' or 'container', or leave it out");
}

function checkToken(token: unknown, what: string): void {
  if (typeof token === 'string' && /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(token)) return;
  throw argumentError(what, token, 'pass a UUID, e.g. of crypto.randomUUID()');
}

/** @throws DmaError EINVAL */
export function checkOpenOptions(wanted: unknown): void {
  checkOptions<OpenOptions>(wanted, 'open', OPEN_CHECKS);
}
