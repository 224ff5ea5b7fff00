/**
 * The token that a virtual function is opened with if its physical function is bound to vfio-pci, too
 * (vfio_pci_core_match_token_uuid). It shows that both programs know each other.
 */
import { DmaError, errnoName } from '../../errors.ts';
import { type FunctionFacts, isVfioDriver } from '../facts.ts';

/** A UUID in the order of its digits, as the kernel keeps it. @param token has the form of a UUID */
export function tokenBytes(token: string): ArrayBuffer {
  return new Uint8Array(Buffer.from(token.replaceAll('-', ''), 'hex')).buffer;
}

/** The error of opening a function, if its token was the reason. @param result of the native function */
export function tokenError(
  facts: FunctionFacts,
  result: number,
  token: string | undefined,
  syscall: string,
): DmaError | undefined {
  const code = result < 0 ? errnoName(result) : undefined;
  const { address, physicalFunction } = facts;
  if (code === 'EACCES') {
    const what = token === undefined ? 'is opened with a token only' : 'has another token';
    const remedy =
      physicalFunction === undefined
        ? 'pass { vfToken } with which its virtual functions were opened, or close those first'
        : `pass the { vfToken } with which its physical function ${physicalFunction} was opened`;
    return new DmaError('EACCES', `${address} ${what}`, { syscall, remedy });
  }
  if (code !== 'EINVAL' || token === undefined || takesToken(facts)) return undefined;
  return new DmaError('EINVAL', `${address} takes no token`, {
    syscall,
    remedy: 'leave vfToken out: it is for virtual functions whose physical function is bound to vfio-pci',
  });
}

function takesToken({ physicalFunction, physicalDriver, hasVirtualFunctions }: FunctionFacts): boolean {
  return physicalFunction === undefined ? hasVirtualFunctions : isVfioDriver(physicalDriver);
}
