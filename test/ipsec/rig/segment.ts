import { sessionName } from '../../lab/rig/session.ts';
import type { Result, RunOptions } from '../../lab/rig/shell.ts';
import { type Running, run, start } from '../../lab/rig/shell.ts';

// The machines are plugged into one bridge, which is in a network namespace of its own. A machine's end of the cable is a
// tap device, so what crosses the bridge is what the machine's kernel sent, on this machine's own kernel.

/** The network namespace of the bridge. The name makes it go with the session. */
const namespace = `${sessionName}-wire`;

/** Where a machine is on the network. */
export interface Plug {
  /** The network namespace with its tap device, as ip-netns(8) names it. */
  namespace: string;
  /** The tap device. */
  tap: string;
  /** The hardware address for its eth0. */
  mac: string;
  /** The network namespace of the device `tap` for its second card. It leads nowhere else; this machine is 192.0.2.1 there. */
  aside: string;
  /** Its own IPv4 address: in 10.91.0.0/24, behind a router in 10.92.N.0/24. */
  address: string;
  /** The IPv4 address by which other machines know it: its own, or that of its router. */
  outside: string;
  /** Its own IPv6 address: in fd91::/64, behind a router in fd92:N::/64. */
  address6: string;
  /** Lines for `ip -batch` that configure its eth0. */
  configuration: string;
}

let plugs = 0;
let bridge: Promise<unknown> | undefined;

async function ip(where: string, batch: string): Promise<void> {
  await run(['ip', '-n', where, '-batch', '-'], { input: batch }, `ip -batch: ${batch}`);
}

async function makeBridge(): Promise<void> {
  await run(['ip', 'netns', 'add', namespace]);
  await ip(
    namespace,
    `
      link add bridge type bridge
      link add nowhere type bridge
      addr add 10.91.0.1/24 dev bridge
      addr add fd91::1/64 dev bridge nodad
      link set bridge up
      link set lo up
    `,
  );
}

/** Returns the lines that give eth0 these addresses. */
function configuration(address: string, address6: string, gateway: string): string {
  return `addr add ${address}/24 dev eth0
addr add ${address6}/64 dev eth0 nodad
link set eth0 up
route add default via ${gateway}
`;
}

/** Makes tap devices for the machine `name`. That for eth0 is on the bridge, or behind a router of its own that is on the bridge. */
export async function plugIn(name: string, behindNat: boolean): Promise<Plug> {
  bridge ??= makeBridge();
  const [aside] = await Promise.all([plugAside(name), bridge]);
  const number = ++plugs + 1;
  const tap = `tap${number}`;
  const mac = `52:54:00:91:00:${number.toString(16).padStart(2, '0')}`;
  const outside = `10.91.0.${number}`;
  if (behindNat) return { mac, aside, outside, ...(await makeRouter(name, number)) };
  await ip(namespace, `tuntap add ${tap} mode tap\nlink set ${tap} master bridge up\n`);
  const address6 = `fd91::${number.toString(16)}`;
  return {
    ...{ namespace, tap, mac, aside, outside, address: outside, address6 },
    configuration: configuration(outside, address6, '10.91.0.1'),
  };
}

/** Makes a network namespace with nothing but a tap device in it for the machine `name`, and returns its name. */
async function plugAside(name: string): Promise<string> {
  const aside = `${sessionName}-aside-${name}`;
  await run(['ip', 'netns', 'add', aside]);
  await ip(aside, 'tuntap add tap mode tap\naddr add 192.0.2.1/30 dev tap\nlink set tap up\n');
  return aside;
}

/** Makes a router that hides what is behind it: IPv4 connections from inside leave with its own address. */
async function makeRouter(name: string, number: number) {
  const router = routerOf(name);
  await run(['ip', 'netns', 'add', router]);
  await ip(namespace, `link add port${number} type veth peer name outside netns ${router}\n`);
  await ip(namespace, `link set port${number} master bridge up\n`);
  const inside = `10.92.${number}`;
  const inside6 = `fd92:${number.toString(16)}:`;
  await ip(
    router,
    `
      link set lo up
      addr add 10.91.0.${number}/24 dev outside
      link set outside up
      tuntap add inside mode tap
      addr add ${inside}.1/24 dev inside
      addr add ${inside6}:1/64 dev inside nodad
      link set inside up
    `,
  );
  await inNamespace(router, 'echo 1 >/proc/sys/net/ipv4/ip_forward; nft -f -', {
    input:
      'table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "outside" masquerade; }; }\n',
  });
  const address = `${inside}.2`;
  const address6 = `${inside6}:2`;
  return {
    ...{ namespace: router, tap: 'inside', address, address6 },
    configuration: configuration(address, address6, `${inside}.1`),
  };
}

function routerOf(name: string): string {
  return `${sessionName}-nat-${name}`;
}

function inNamespace(where: string, command: string, options?: RunOptions): Promise<Result> {
  return run(['ip', 'netns', 'exec', where, 'bash', '-c', command], options, `${where}# ${command}`);
}

/** Runs a command line for bash on the router of the machine `name`, such as `nft add rule …`. Its interfaces: outside, inside. */
export function onRouter(name: string, command: string, options?: RunOptions): Promise<Result> {
  return inNamespace(routerOf(name), command, options);
}

/**
 * Runs a command line for bash as a third machine on the wire: 10.91.0.1 and fd91::1 on the interface `bridge`, to which
 * everything else is plugged.
 */
export function onWire(command: string, options?: RunOptions): Promise<Result> {
  return inNamespace(namespace, command, options);
}

/** Starts a command line for bash on the same machine, and returns at once. */
export function spawnOnWire(command: string): Running {
  return start(['ip', 'netns', 'exec', namespace, 'bash', '-c', command]);
}

/** Sends an Ethernet frame, from its destination address to the end of its payload, to whom it is addressed to on the wire. */
export async function inject(frame: Uint8Array): Promise<void> {
  await onWire('exec socat -u -b 65536 - INTERFACE:bridge', { input: frame });
}

/** Has the cable of a machine carry frames, or none. What is behind a router is cut off on the outside of that. */
export async function setCable({ namespace: where, tap }: Plug, state: 'up' | 'down'): Promise<void> {
  // A bridge that is down passes nothing on. A port's own state would not outlive a reboot, which the bridge sees.
  if (where === namespace)
    await ip(where, `link set ${tap} master ${state === 'up' ? 'bridge' : 'nowhere'}\n`);
  else await ip(where, `link set outside ${state}\n`);
}

/** Takes away what `plugIn` made. */
export async function unplug(plug: Plug): Promise<void> {
  if (plug.namespace === namespace) await ip(namespace, `link delete ${plug.tap}\n`);
  else await run(['ip', 'netns', 'delete', plug.namespace]);
  await run(['ip', 'netns', 'delete', plug.aside]);
}
