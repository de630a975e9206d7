import { existsSync, readdirSync } from 'node:fs';
import { run, runSync } from './shell.ts';

// A session's hosts are plugged into one bridge, which is in a network namespace of its own, named after the session.
// No interface of the machine is in it, so nothing can leave.

/** Where a host is on the network. */
export interface Plug {
  /** Its network namespace, as ip-netns(8) names it. */
  namespace: string;
  /** Its IPv4 address, in 10.90.0.0/24. */
  address: string;
  /** Its IPv6 address, in fd90::/64. */
  address6: string;
  /** The bridge's end of its cable. */
  port: string;
}

let plugs = 0;
let bridge: Promise<unknown> | undefined;

async function ip(batch: string): Promise<void> {
  await run(['ip', '-batch', '-'], { input: batch }, `ip -batch: ${batch}`);
}

async function makeBridge(session: string): Promise<void> {
  await ip(`netns add ${session}`);
  await run(['ip', '-n', session, '-batch', '-'], {
    input: `
      link add bridge type bridge
      addr add 10.90.0.1/24 dev bridge
      addr add fd90::1/64 dev bridge nodad
      link set bridge up
      link set lo up
    `,
  });
}

/** Makes a network namespace for the host `name` of `session`, whose eth0 is on the session's bridge. */
export async function plugIn(session: string, name: string): Promise<Plug> {
  bridge ??= makeBridge(session);
  await bridge;
  const number = ++plugs + 1;
  const plug: Plug = {
    namespace: `${session}-${name}`,
    address: `10.90.0.${number}`,
    address6: `fd90::${number.toString(16)}`,
    port: `port${number}`,
  };
  await ip(`netns add ${plug.namespace}`);
  await run(['ip', '-n', session, '-batch', '-'], {
    input: `
      link add ${plug.port} type veth peer name eth0 netns ${plug.namespace}
      link set ${plug.port} master bridge up
    `,
  });
  await run(['ip', '-n', plug.namespace, '-batch', '-'], {
    input: `
      addr add ${plug.address}/24 dev eth0
      addr add ${plug.address6}/64 dev eth0 nodad
      link set eth0 up
      link set lo up
      route add default via 10.90.0.1
    `,
  });
  return plug;
}

/** Cuts a host's cable, or mends it. */
export async function setCable(session: string, plug: Plug, state: 'up' | 'down'): Promise<void> {
  await run(['ip', '-n', session, 'link', 'set', plug.port, state]);
}

/** Removes the network namespace called `prefix` and those called `prefix-…`. */
export function removeNamespaces(prefix: string): void {
  if (!existsSync('/run/netns')) return;
  for (const name of readdirSync('/run/netns')) {
    if (name === prefix || name.startsWith(`${prefix}-`)) runSync(['ip', 'netns', 'delete', name]);
  }
}
