import type { Tunnel } from '../../units/tunnel.js';
import type { Ask } from '../api/client.js';
import { checkGreeting, type Greeting } from '../api/tunnel-schema.js';
import { ownMachine } from './machine-id.js';
import { conditionOf } from './raise.js';

/** Asks a machine who it is, and what it has of a tunnel with this one. @throws Failure, Unreachable */
export async function greet(ask: Ask): Promise<Greeting> {
  const own = ownMachine();
  const greeting = checkGreeting(await ask('GET', `/v1/tunnels/with/${own}`));
  if (greeting.machine !== own) return greeting;
  throw new Error('that is this machine itself, or a copy of it with the same /etc/machine-id');
}

/** Whether both machines have a tunnel up, and each sends with what the other receives with. @throws IpError */
export async function isWell(tunnel: Tunnel, { tunnel: theirs }: Greeting): Promise<boolean> {
  if (theirs?.id !== tunnel.id) return false;
  const own = await conditionOf(tunnel);
  return own.up && meet(own.out, theirs.in) && meet(theirs.out, own.in);
}

function meet(sent: number[], received: number[]): boolean {
  return sent.length > 0 && sent.every((spi) => received.includes(spi));
}
