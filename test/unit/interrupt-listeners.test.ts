/** Several listeners of one vector, of which one does what the others do not expect. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { InterruptAccess } from '../../lib/interrupts/access.ts';
import { Interrupt } from '../../lib/interrupts/interrupt.ts';

function arm(): { interrupt: Interrupt; deliver: (count: number) => void } {
  let deliver: (count: number) => void = () => {};
  const access: InterruptAccess = {
    limit: () => 1,
    enable: (_kind, _vector, wanted) => {
      deliver = wanted;
    },
    disable: () => {},
    unmaskIntx: () => {},
    trigger: () => {},
    setRef: () => {},
  };
  const interrupt = new Interrupt(access, 'msi', 0, () => {});
  return { interrupt, deliver };
}

describe('listeners of an interrupt', () => {
  afterEach(() => vi.unstubAllGlobals());

  it('are told although one of them throws, which is an uncaught exception', () => {
    const later: (() => void)[] = [];
    vi.stubGlobal('queueMicrotask', (action: () => void) => later.push(action));
    const { interrupt, deliver } = arm();
    const told: number[] = [];
    interrupt.listen(() => {
      throw new Error('on purpose');
    });
    interrupt.listen((count) => told.push(count));
    deliver(3);
    expect(told).toEqual([3]);
    expect(later.length).toBe(1);
    expect(later[0]).toThrow('on purpose');
  });

  it('are not told once one of them has ended that, or closed the vector', () => {
    const { interrupt, deliver } = arm();
    const told: string[] = [];
    let end = (): void => {};
    interrupt.listen(() => {
      told.push('first');
      end();
    });
    end = interrupt.listen(() => told.push('second'));
    interrupt.listen(() => {
      told.push('third');
      interrupt.close();
    });
    interrupt.listen(() => told.push('fourth'));
    deliver(1);
    expect(told).toEqual(['first', 'third']);
  });

  it('are functions', () => {
    const { interrupt } = arm();
    expect(() => interrupt.listen(undefined as never)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
