/*
 * Random scripts of what two programs do with a TCP connection between them. A script depends on its seed only.
 */

/** Which of the two programs: the one that connects, or the one that accepts. */
export type Side = 'client' | 'target';

export type Step =
  /** Sends bytes, behind those that the kernel has not taken yet. */
  | { readonly do: 'write'; readonly side: Side; readonly size: number }
  /** Sends one byte as urgent data (MSG_OOB), behind those that the kernel has not taken yet. */
  | { readonly do: 'urgent'; readonly side: Side }
  /** Ends its half of the connection behind the last byte, shutdown(2). */
  | { readonly do: 'fin'; readonly side: Side }
  /** Resets the connection at once: close(2) with SO_LINGER and no time. */
  | { readonly do: 'reset'; readonly side: Side }
  /** Calls close(2) at once, whatever it has not read or sent. */
  | { readonly do: 'close'; readonly side: Side }
  /** Stops or starts to read. */
  | { readonly do: 'stall' | 'read'; readonly side: Side }
  /** Lets some time pass. */
  | { readonly do: 'sleep'; readonly ms: number }
  /** Waits until both sides have seen everything that is on the way to them. */
  | { readonly do: 'settle' };

export interface Script {
  readonly seed: number;
  /** Which sides have small buffers. */
  readonly narrow: readonly Side[];
  /** How many of the first steps the client does before the target's program has accepted the connection. */
  readonly early: number;
  readonly steps: readonly Step[];
}

/** "client writes 5000, settle, target resets": a script in words. */
export function describeScript({ seed, narrow, early, steps }: Script): string {
  const words = steps.map((step) => {
    if (step.do === 'settle') return 'settle';
    if (step.do === 'sleep') return `sleep ${step.ms}`;
    return `${step.side} ${step.do}${step.do === 'write' ? ` ${step.size}` : ''}`;
  });
  const narrowly = narrow.map((side) => `, narrow ${side}`).join('');
  return `seed ${seed} (${early} early${narrowly}): ${words.join(', ')}`;
}

/** Numbers in [0, 1) that depend on the seed only (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The script of a seed, an integer. */
export function createScript(seed: number): Script {
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const chance = (share: number): boolean => random() < share;
  const side = (): Side => (chance(0.5) ? 'client' : 'target');
  const size = (): number => {
    const scale = random();
    if (scale < 0.2) return 1;
    if (scale < 0.5) return 1 + below(200);
    if (scale < 0.75) return 1 + below(20_000);
    if (scale < 0.93) return 1 + below(300_000);
    return 1 + below(4_000_000);
  };
  const steps: Step[] = [];
  const ended = new Set<Side>();
  const gone = new Set<Side>();
  const stalled = new Set<Side>();
  // Some programs never read, and some only when the other one has done everything.
  const deaf = chance(0.15) ? side() : undefined;
  if (deaf !== undefined) {
    stalled.add(deaf);
    steps.push({ do: 'stall', side: deaf });
  }
  const narrow = (['client', 'target'] as const).filter(() => chance(0.15));
  // In some scripts much happens at once, and sudden ends are likely.
  const isHasty = chance(0.3);
  const settle = (share: number): void => {
    if (chance(isHasty ? share / 8 : share)) steps.push({ do: 'settle' });
    else if (chance(0.2)) steps.push({ do: 'sleep', ms: below(30) });
  };
  const send = (from: Side): void => {
    if (ended.has(from) || gone.has(from)) return;
    if (chance(0.15)) steps.push({ do: 'urgent', side: from });
    else steps.push({ do: 'write', side: from, size: size() });
  };
  const leave = (which: Side, how: 'fin' | 'reset' | 'close'): void => {
    if (gone.has(which) || (how === 'fin' && ended.has(which))) return;
    steps.push({ do: how, side: which });
    if (how === 'fin') ended.add(which);
    else gone.add(which);
  };
  let early = 0;
  if (chance(0.3)) {
    if (chance(0.7)) send('client');
    if (chance(0.3)) send('client');
    if (chance(0.4)) leave('client', 'fin');
    early = steps.length;
  }
  for (let left = below(14); left > 0; left--) {
    const what = random();
    if (what < 0.62) {
      send(side());
    } else if (what < 0.7) {
      const which = side();
      if (which === deaf || gone.has(which)) continue;
      if (stalled.delete(which)) steps.push({ do: 'read', side: which });
      else steps.push({ do: 'stall', side: which }) && stalled.add(which);
    } else if (what < 0.82) {
      leave(side(), 'fin');
    } else if (what < (isHasty ? 0.91 : 0.85)) {
      leave(side(), 'reset');
    } else if (what < (isHasty ? 1 : 0.88)) {
      leave(side(), 'close');
    }
    settle(0.35);
  }
  for (const which of stalled) {
    if (which !== deaf && !gone.has(which)) steps.push({ do: 'read', side: which });
  }
  settle(0.5);
  const how = random();
  const first = side();
  const other = first === 'client' ? 'target' : 'client';
  if (how < 0.5) {
    leave(first, 'fin');
    settle(0.5);
    leave(other, 'fin');
  } else if (how < 0.7) {
    leave(first, 'close');
    settle(0.5);
    if (chance(0.4)) send(other);
    leave(other, 'fin');
  } else if (how < 0.9) {
    leave(first, 'reset');
  }
  steps.push({ do: 'settle' });
  return { seed, narrow, early, steps };
}
