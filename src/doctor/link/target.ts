import type { Namespace } from '../../links/containers/namespace.js';
import { findHolder, readSocketTables, receiverInodes } from '../../links/socket-tables.js';
import { address } from '../../recipe/describe.js';
import { hasHostName } from '../../recipe/host-name.js';
import { type Address, addressesOf, type End, type IpAddress } from '../../recipe/link.js';
import { isPath, isUnix, type UnixAddress } from '../../recipe/recipe.js';
import { knownNameOf } from '../../state/name-file.js';
import { inspectPath } from '../../system/unix-sockets.js';
import type { Hop } from './hop.js';
import { probe, type Target } from './probe.js';

/** The process that holds the sockets of units, and starts their services at the first connection. */
const SYSTEMD = /^systemd \(pid 1\)$/;

/** Tries whether the target of a link accepts a connection, from the namespace of the tail and with no byte. */
export async function followTarget(link: string, tail: End, namespace?: Namespace): Promise<Hop[]> {
  const hops: Hop[] = [];
  for (const one of addressesOf(tail)) hops.push(await targetHop(link, one, { tail, namespace }));
  return hops;
}

async function targetHop(
  link: string,
  to: Address,
  { tail, namespace }: { tail: End; namespace: Namespace | undefined },
): Promise<Hop> {
  const text = `${to.protocol}://${address(to)}`;
  const unknown = (why: string): Hop => ({ link, state: 'unknown', text: `${text} is not probed: ${why}` });
  if (isUnix(to)) return isPath(to) ? pathHop(link, to) : unknown('it is an abstract name of unix');
  if (to.protocol === 'udp') return unknown('it takes datagrams, and a probe sends nothing');
  const holder = await holderOf(tail, to.port);
  if (holder !== undefined && SYSTEMD.test(holder))
    return unknown('systemd listens there, and a connection would start its service');
  const targets = targetsOf(link, to);
  if (targets.length === 0)
    return {
      link,
      state: 'broken',
      text: `${text} has no address`,
      advice: `wormhole show ${link} says why`,
    };
  const failures: string[] = [];
  for (const target of targets) {
    const failure = await probe(target, { namespace: namespace?.path });
    if (failure === undefined)
      return {
        link,
        state: 'ok',
        text: `${text} accepts connections${holder === undefined ? '' : ` (${holder})`}`,
      };
    failures.push(failure);
  }
  return {
    link,
    state: 'broken',
    text: `${text} does not accept a connection (${[...new Set(failures)].join(', ')})`,
    advice: 'start what should listen there, or correct the recipe',
  };
}

/** Whether a program has the socket at a path; it notices nothing. */
function pathHop(link: string, { protocol, path }: UnixAddress): Hop {
  const use = inspectPath(path);
  const text = `${protocol}://${path}`;
  if (use === 'live socket') return { link, state: 'ok', text: `a program has ${text}` };
  const problem = {
    nothing: 'does not exist',
    'stale socket': 'is a socket that no program has',
    file: 'is not a socket',
  }[use];
  return {
    link,
    state: 'broken',
    text: `${text} ${problem}`,
    advice: 'start what should listen there, or correct the recipe',
  };
}

/** What to connect to: for a name, the addresses that the forwarder knows, or else those that this machine finds. */
function targetsOf(link: string, to: IpAddress): Target[] {
  const known = hasHostName(to) ? knownNameOf(link, address(to)) : undefined;
  return (known?.addresses ?? [to.host]).map((host) => ({ host, port: to.port }));
}

async function holderOf({ place }: End, port: number): Promise<string | undefined> {
  const tables = await readSocketTables(place, ['tcp']);
  return findHolder(receiverInodes(tables, 'tcp', port));
}
