import { randomNumbers } from './forwarder-fidelity-script.ts';

/*
 * Random scripts of what the clients of a UDP server and the server do. A script depends on its seed only. All scripts that are
 * played together share the server, which is down in some phases and another process in each of the others.
 */

/** Whether the server is there in each of the phases of a script. */
export const PHASES = ['down', 'up', 'down', 'up', 'up'] as const;

/** The smallest datagram that tells who has sent it, bytes. */
export const IDENTIFYING = 12;

/** The largest datagram, bytes: 65,535 without the headers of IPv4 and UDP. */
const LARGEST = 65_507;

/** The most datagrams of one call that the kernel takes (UDP_SEGMENT, udp(7)). */
const MOST_JOINED = 60;

export type Step =
  /** Datagrams of these sizes, one a call or all in one call (`joined`: UDP_SEGMENT, udp(7)), to or from a client. */
  | {
      readonly do: 'send';
      readonly from: 'client' | 'target';
      readonly slot: number;
      readonly sizes: readonly number[];
      readonly joined: boolean;
    }
  /** Closes the socket of a client to which nothing is on the way, or opens it again with the same address and port. */
  | { readonly do: 'leave' | 'return'; readonly slot: number }
  /** The server sends to a client that has left until the kernel refuses it. */
  | { readonly do: 'probe'; readonly slot: number }
  | { readonly do: 'sleep'; readonly ms: number }
  /** Waits until everything has arrived. */
  | { readonly do: 'settle' };

export interface Client {
  /** Which of the addresses of the server it calls, modulo their number. */
  readonly host: number;
  /** Whether its socket is connected. */
  readonly isConnected: boolean;
  /** Whether it has the port of the first client, at an address of its own. */
  readonly sharesPort: boolean;
}

export interface Script {
  readonly seed: number;
  readonly clients: readonly Client[];
  /** The steps of each phase. */
  readonly phases: readonly (readonly Step[])[];
}

/** A script in words. */
export function describeScript({ seed, clients, phases }: Script): string {
  const who = clients.map(
    ({ host, isConnected, sharesPort }) =>
      `host ${host}${isConnected ? '' : ', not connected'}${sharesPort ? ', same port' : ''}`,
  );
  const words = (step: Step): string => {
    if (step.do === 'settle') return 'settle';
    if (step.do === 'sleep') return `sleep ${step.ms}`;
    if (step.do !== 'send') return `${step.slot} ${step.do}s`;
    const [first = 0] = step.sizes;
    const equal = step.sizes.findIndex((size) => size !== first);
    const count = equal < 0 ? step.sizes.length : equal;
    const sizes = [count > 1 ? `${count}×${first}` : first, ...step.sizes.slice(count)].join('+');
    return `${step.slot}${step.from === 'client' ? '>' : '<'}${sizes}${step.joined ? ' joined' : ''}`;
  };
  const stories = phases.map((steps, phase) => `[${PHASES[phase]}] ${steps.map(words).join(', ')}`);
  return `seed ${seed} (${who.join('; ')}): ${stories.join(' ')}`;
}

/** The script of a seed, an integer. */
export function createScript(seed: number): Script {
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const chance = (share: number): boolean => random() < share;
  const clients = Array.from(
    { length: 1 + below(4) },
    (_, slot): Client => ({
      host: below(3),
      isConnected: chance(0.6),
      sharesPort: slot > 0 && chance(0.3),
    }),
  );
  const left = new Set<number>();
  // Of a client that is known to the server, it knows the address.
  let known = new Set<number>();

  const size = (): number => {
    const scale = random();
    if (scale < 0.12) return 0;
    if (scale < 0.2) return 1 + below(IDENTIFYING);
    if (scale < 0.5) return IDENTIFYING + below(500);
    if (scale < 0.7) return [1200, 1399, 1400, 1472, 1473, 1500, 9000][below(7)] as number;
    if (scale < 0.85) return 1 + below(10_000);
    if (scale < 0.95) return 1 + below(LARGEST);
    return LARGEST;
  };
  const sizes = (): { sizes: number[]; joined: boolean } => {
    const scale = random();
    if (scale < 0.5) return { sizes: [size()], joined: false };
    if (scale < 0.7) return { sizes: Array.from({ length: 2 + below(6) }, size), joined: false };
    const each = Math.max(
      1,
      chance(0.6) ? ([64, 512, 1200, 1400, 1472, 9000][below(6)] as number) : below(3000),
    );
    const most = Math.min(MOST_JOINED, Math.floor(LARGEST / each));
    const burst = Array.from({ length: 1 + below(most) }, () => each);
    // The last of joined datagrams may be smaller.
    if (burst.length > 1 && chance(0.4)) burst[burst.length - 1] = 1 + below(each);
    return { sizes: burst, joined: chance(0.5) };
  };

  const upStep = (steps: Step[]): void => {
    const slot = below(clients.length);
    const what = random();
    if (left.has(slot)) {
      if (known.has(slot) && what < 0.3) {
        known.delete(slot);
        steps.push({ do: 'probe', slot });
      } else if (what < 0.8) {
        left.delete(slot);
        steps.push({ do: 'return', slot });
      }
    } else if (what < 0.5 || !known.has(slot)) {
      const burst = sizes();
      steps.push({ do: 'send', from: 'client', slot, ...burst });
      if (!known.has(slot) && !burst.sizes.some((each) => each >= IDENTIFYING))
        steps.push({ do: 'send', from: 'client', slot, sizes: [IDENTIFYING + below(1000)], joined: false });
      known.add(slot);
    } else if (what < 0.92) {
      steps.push({ do: 'send', from: 'target', slot, ...sizes() });
    } else {
      left.add(slot);
      steps.push({ do: 'leave', slot });
    }
    if (chance(0.25)) steps.push({ do: 'settle' });
    else if (chance(0.1)) steps.push({ do: 'sleep', ms: chance(0.06) ? 1100 : below(40) });
  };
  const downStep = (steps: Step[]): void => {
    const slot = below(clients.length);
    if (left.has(slot)) return;
    const each = chance(0.2) ? 1472 : IDENTIFYING + below(600);
    const burst = Array.from({ length: chance(0.6) ? 1 : 1 + below(5) }, () => each);
    steps.push({ do: 'send', from: 'client', slot, sizes: burst, joined: false });
    if (chance(0.4)) steps.push({ do: 'sleep', ms: chance(0.06) ? 1100 : below(120) });
  };
  const phases = PHASES.map((state) => {
    const steps: Step[] = [];
    known = new Set();
    for (let count = state === 'up' ? below(12) : below(4); count > 0; count--)
      if (state === 'up') upStep(steps);
      else downStep(steps);
    return steps;
  });
  return { seed, clients, phases };
}
