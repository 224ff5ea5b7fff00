/** Several listeners of one vector, of which one does what the others do not expect. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { InterruptAccess } from '../../lib/interrupts/access.ts';
import { Interrupt } from '../../lib/interrupts/interrupt.ts';

function arm(): { interrupt: Interrupt; deliver: (count: number) => void; refs: boolean[] } {
  let deliver: (count: number) => void = () => {};
  const refs: boolean[] = [];
  const access: InterruptAccess = {
    limit: () => 1,
    enable: (_kind, _vector, wanted) => {
      deliver = wanted;
    },
    disable: () => {},
    unmaskIntx: () => {},
    trigger: () => {},
    setRef: (_kind, _vector, ref) => refs.push(ref),
  };
  const interrupt = new Interrupt(access, 'msi', 0, () => {});
  return { interrupt, deliver: (count) => deliver(count), refs };
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

  it('that come during a delivery are told of the next one, each once', () => {
    const { interrupt, deliver } = arm();
    const told: string[] = [];
    const late = (count: number): void => void told.push(`late ${count}`);
    interrupt.listen((count) => {
      told.push(`early ${count}`);
      interrupt.listen(late);
    });
    deliver(1);
    deliver(2);
    deliver(3);
    expect(told).toEqual(['early 1', 'early 2', 'late 2', 'early 3', 'late 3']);
  });

  it('are functions', () => {
    const { interrupt } = arm();
    expect(() => interrupt.listen(undefined as never)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('a driver that waits in a loop', () => {
  it('is told of each interrupt once, and keeps the process alive until it stops', async () => {
    const { interrupt, deliver, refs } = arm();
    const counts: number[] = [];
    const loop = (async () => {
      while (counts.length < 3) counts.push(await interrupt.wait());
    })();
    for (let i = 1; i <= 3; i++) {
      deliver(i);
      await new Promise(setImmediate);
      expect(refs).toEqual(i < 3 ? [false, true] : [false, true, false]);
    }
    await loop;
    expect(counts).toEqual([1, 2, 3]);
  });

  it('gets the next interrupt, not the one that a listener or another wait is told of meanwhile', async () => {
    const { interrupt, deliver } = arm();
    const later: Promise<number>[] = [];
    const again = (): void => void (later.length < 2 && later.push(interrupt.wait()));
    const signal = { aborted: false, addEventListener: () => {}, removeEventListener: again };
    const first = interrupt.wait({ signal: signal as unknown as AbortSignal });
    interrupt.listen(again);
    deliver(1);
    deliver(2);
    expect(await first).toBe(1);
    expect(await Promise.all(later)).toEqual([2, 2]);
  });
});
