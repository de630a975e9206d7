import { existsSync } from 'node:fs';
import { isEmptyNamespace } from '../../links/containers/empty-namespace.js';
import { findNamespace } from '../../links/containers/namespace.js';
import { NoSuchLink } from '../../links/delete.js';
import { describeEnd, describePlace } from '../../recipe/describe.js';
import { addressesOf, type End, farChildOf, localTailOf } from '../../recipe/link.js';
import { isUnix } from '../../recipe/recipe.js';
import { installation } from '../../state/installation.js';
import { withSystemd } from '../../systemd/systemd.js';
import { netnsInstance, serviceUnit, socketUnit } from '../../units/names.js';
import type { PlannedLink } from '../../units/plan.js';
import { type Facts, readFacts } from '../facts.js';
import { areInConflict, listenersOfLink } from '../socket-addresses.js';
import { followFar } from './far.js';
import { goesOn, type Hop } from './hop.js';
import { followPlace } from './place.js';
import { followTarget } from './target.js';

/**
 * Follows one link of this machine hop by hop, up to where it breaks or sleeps. It starts nothing, and sends nothing to the target.
 *
 * @throws NoSuchLink; Error when systemd is unreachable
 */
export function followLink(id: string): Promise<Hop[]> {
  return withSystemd(async (systemd) => {
    const facts = await readFacts(systemd);
    const planned = facts.links.find((link) => link.id === id);
    const reason = facts.unreadable.find((link) => link.id === id)?.reason;
    if (reason !== undefined)
      return [{ link: id, state: 'broken' as const, text: reason, advice: `wormhole delete ${id}` }];
    if (!planned) throw new NoSuchLink(`no link "${id}": see wormhole list`);
    return follow(planned, facts, new Set());
  });
}

/** @param seen the links that are followed already: those that lead to each other would never end */
async function follow(planned: PlannedLink, facts: Facts, seen: Set<string>): Promise<Hop[]> {
  if (seen.has(planned.id)) return [];
  seen.add(planned.id);
  const hops = [await headHop(planned, facts)];
  // A head that a connection to the parent opens is closed, and all behind it can be looked at nevertheless.
  if (hops[0]?.state === 'broken') return hops;
  hops.push(await forwarderHop(planned, facts));
  if (hops[1]?.state !== 'ok') return hops;
  return [...hops, ...(await followTail(planned, facts, seen))];
}

async function headHop(
  { id: link, root, openedBy, link: { head } }: PlannedLink,
  facts: Facts,
): Promise<Hop> {
  const unit = socketUnit(link);
  const { active } = await facts.systemd.state(unit);
  const text = describeEnd(head);
  if (active === 'active') {
    const isEmpty = isEmptyNamespace(netnsInstance(head.place));
    return isEmpty
      ? {
          link,
          state: 'broken',
          text: `${describePlace(head.place)} is not there, in which ${unit} listens`,
          advice: 'start it; the link follows by itself',
        }
      : { link, state: 'ok', text: `${text} listens` };
  }
  if (openedBy !== undefined && active === 'inactive')
    return { link, state: 'asleep', text: `${text} is closed: ${openedBy} opens it` };
  if (openedBy === undefined && !facts.open.has(link))
    return {
      link,
      state: 'broken',
      text: `${text} is closed: somebody has stopped the link`,
      advice: `wormhole start ${root}`,
    };
  return {
    link,
    state: 'broken',
    text: `${text} does not listen: ${unit} is ${active}`,
    advice: `journalctl -u ${unit} says why; wormhole doctor looks at the whole machine`,
  };
}

async function forwarderHop({ id: link, root }: PlannedLink, { systemd }: Facts): Promise<Hop> {
  const unit = serviceUnit(link);
  const { load, active } = await systemd.state(unit);
  if (load !== 'loaded')
    return {
      link,
      state: 'broken',
      text: `${unit} cannot be loaded (${load})`,
      advice: `wormhole upgrade ${root} writes it again`,
    };
  const { node, forwarder } = installation();
  const missing = [node, forwarder].find((path) => !existsSync(path));
  if (missing !== undefined)
    return {
      link,
      state: 'broken',
      text: `its program ${missing} is missing`,
      advice: 'run install.sh again',
    };
  if (active === 'failed')
    return { link, state: 'broken', text: `${unit} has failed`, advice: `journalctl -u ${unit} says why` };
  return {
    link,
    state: 'ok',
    text: active === 'active' ? 'its forwarder runs' : 'its forwarder starts at the first connection',
  };
}

async function followTail(planned: PlannedLink, facts: Facts, seen: Set<string>): Promise<Hop[]> {
  const { id, link } = planned;
  const children = facts.links.filter(({ parent }) => parent === id);
  const far = farChildOf(link);
  const keyFile = (planned.far ?? facts.links.find((one) => one.id === planned.root)?.far)?.keyFile;
  if (far && keyFile !== undefined)
    return followFar({ link: id, child: far, keyFile, trigger: link.trigger });
  const hops: Hop[] = [];
  const tail = link.tail ?? (link.tails ? undefined : localTailOf(link));
  if (tail) hops.push(...(await followEnd(planned, tail, facts, seen)));
  if (!hops.every(({ state }) => state === 'ok' || state === 'unknown')) return hops;
  // The tails of a link, each of which may serve, or the links that belong to it.
  for (const child of children) hops.push(...(await follow(child, facts, seen)));
  return hops;
}

async function followEnd(planned: PlannedLink, tail: End, facts: Facts, seen: Set<string>): Promise<Hop[]> {
  const { hops, namespace } = await followPlace(planned, tail.place, facts);
  if (!goesOn(hops)) return hops;
  // A connection to the head of another link would go through it, and start what sleeps there.
  const next = await linkAt(tail, facts);
  if (!next) return [...hops, ...(await followTarget(planned.id, tail, namespace))];
  const leads: Hop = {
    link: planned.id,
    state: 'ok',
    text: `${describeEnd(tail)} is the head of link ${next.id}`,
  };
  return [...hops, leads, ...(await follow(next, facts, seen))];
}

/** The link that has its head where another one has its tail. */
async function linkAt(tail: End, { links }: Facts): Promise<PlannedLink | undefined> {
  const wanted = listenersOfLink({ link: { head: tail } });
  const candidates = links.filter((link) =>
    listenersOfLink(link).some((one) => wanted.some((other) => areInConflict(one, other))),
  );
  for (const candidate of candidates) if (await shareNamespace(candidate.link.head, tail)) return candidate;
  return undefined;
}

/** Paths of unix are the same in all namespaces. */
async function shareNamespace(head: End, tail: End): Promise<boolean> {
  if (isUnix(head) && addressesOf(head).every((one) => isUnix(one) && one.path.startsWith('/'))) return true;
  const [one, other] = await Promise.all(
    [head, tail].map(({ place }) => findNamespace(place).catch(() => undefined)),
  );
  return one !== undefined && one.inode === other?.inode;
}
