import { type ContainerState, containerState } from '../../docker/container-state.js';
import { ownState } from '../../docker/run-container.js';
import { containerName } from '../../docker/runs.js';
import { findNamespace, type Namespace, PlaceAbsent } from '../../links/containers/namespace.js';
import { isCurrent } from '../../links/containers/netns.js';
import { engineRuns } from '../../links/containers/require-engine.js';
import { describePlace } from '../../recipe/describe.js';
import type { Place } from '../../recipe/link.js';
import { netnsInstance, netnsUnit } from '../../units/names.js';
import type { PlannedLink } from '../../units/plan.js';
import type { Facts } from '../facts.js';
import { splitAdvice } from '../finding.js';
import type { Hop } from './hop.js';

/** The hops of a place, and the namespace that a forwarder connects in; undefined when there is none now. */
export interface PlaceHops {
  hops: Hop[];
  namespace?: Namespace;
}

/** Looks at the place of a link's tail: the container, its health, and its network namespace. */
export async function followPlace(planned: PlannedLink, place: Place, facts: Facts): Promise<PlaceHops> {
  const { id: link } = planned;
  if (place.kind === 'host') return { hops: [] };
  const hops: Hop[] = [];
  if (place.kind !== 'netns') {
    hops.push(await containerHop(planned, place));
    if (hops[0]?.state !== 'ok') return { hops };
  }
  try {
    const namespace = await findNamespace(place);
    hops.push(await joinedHop(link, place, facts));
    return { hops, namespace };
  } catch (error) {
    if (!(error instanceof PlaceAbsent)) throw error;
    const { problem, advice } = splitAdvice(error.message, `wormhole delete ${planned.root}`);
    const help = place.kind === 'netns' ? `ip netns add ${place.name}` : advice;
    return { hops: [...hops, { link, state: 'broken', text: problem, advice: help }] };
  }
}

async function containerHop(
  { id: link, link: { trigger }, openedBy }: PlannedLink,
  place: Place & { kind: 'container' | 'run' },
): Promise<Hop> {
  const text = describePlace(place);
  if (!(await engineRuns()))
    return { link, state: 'broken', text: 'Docker is not running', advice: 'systemctl start docker' };
  const name = place.kind === 'run' ? containerName(place.name, place.request) : place.name;
  // The head of a child is in the container of its parent.
  const owner = place.kind === 'run' ? place.name.replace(/-head$/, '') : link;
  const state = await (place.kind === 'run' ? ownState(place.name, owner, name) : containerState(name));
  const starts = trigger || (place.kind === 'run' && openedBy !== undefined);
  return describeContainer(state, { link, text, name, starts });
}

/** What the state of a container means to a link. `starts` says whether a connection would start it. */
export function describeContainer(
  state: Pick<ContainerState, 'running' | 'status' | 'health' | 'healthOutput'> | undefined,
  { link, text, name, starts }: { link: string; text: string; name: string; starts: boolean },
): Hop {
  if (state?.running) {
    const health = state.health === 'none' ? 'running' : `running, ${state.health}`;
    if (state.health === 'unhealthy')
      return {
        link,
        state: 'broken',
        text: `${text} is ${health}${state.healthOutput === '' ? '' : `: ${state.healthOutput}`}`,
        advice: `docker logs ${name}`,
      };
    return { link, state: 'ok', text: `${text} is ${health}` };
  }
  if (starts)
    return { link, state: 'asleep', text: `${text} sleeps: a connection starts it, and a probe does not` };
  return state
    ? { link, state: 'broken', text: `${text} is ${state.status}`, advice: `docker start ${name}` }
    : { link, state: 'broken', text: `there is no ${text}`, advice: 'create it, or change the recipe' };
}

/** Whether the links of a namespace have joined the one that is there now; one that no forwarder needs yet is joined later. */
async function joinedHop(link: string, place: Place, { units }: Facts): Promise<Hop> {
  const [instance, unit] = [netnsInstance(place), netnsUnit(place)];
  const isJoined = unit !== undefined && units.get(unit)?.active === 'active';
  const text = `the network namespace of ${describePlace(place)}`;
  if (!isJoined || instance === undefined) return { link, state: 'ok', text: `${text} is there` };
  if (await isCurrent(instance)) return { link, state: 'ok', text: `${text} is joined` };
  return {
    link,
    state: 'broken',
    text: `${text} is not the one that the link has joined`,
    advice: 'systemctl start wormhole-sync.service',
  };
}
