import { posix } from 'node:path';
import { hasHostName } from '../recipe/host-name.js';
import { type Link, type LinkTail, namedTailOf } from '../recipe/link.js';
import { isUnix } from '../recipe/recipe.js';
import {
  drainedFile,
  handOffDirectory,
  handOffSocket,
  OWN_DIRECTORY,
  TAILS_DIRECTORY,
  unhealthyFile,
} from './names.js';
import type { CreateOptions, PlannedLink } from './plan.js';
import { startsTail } from './runs.js';

/** The seconds in which a tail that runs has to accept or refuse a client, with the start of its forwarder. */
const RUNNING_TIMEOUT = 5;

/** The same for a tail on another machine, or with a DNS name, whose address may have to be learnt. */
const FAR_TIMEOUT = 10;

/** How long the forwarder of a tail tries to connect, s. One SYN may get lost, and a name may have to be looked up. */
const DIAL_TIMEOUT = 2;
const NAMED_DIAL_TIMEOUT = 6;

/** What the front forwarder of a link with several tails is started with; none for every other link. */
export function frontOptions({ link, options, drained = [] }: PlannedLink): string[] {
  const { id, tails } = link;
  if (!tails) return [];
  const { balance = 'least', check } = options;
  return [
    ...['--balance', balance],
    ...tails.flatMap((tail) => ['--tail', tailText(id, tail, options)]),
    ...drained.flatMap((name) => ['--drained', name]),
    ...['--drained-file', `${OWN_DIRECTORY}/${drainedFile(id).split('/').at(-1)}`],
    ...(followsHealth(link, options)
      ? ['--unhealthy-file', `${OWN_DIRECTORY}/${unhealthyFile(id).split('/').at(-1)}`]
      : []),
    ...(check === undefined ? [] : ['--check', String(check)]),
  ];
}

/** Whether the health of containers decides about clients of a link: it has an active check, and tails in containers that run by themselves. */
export function followsHealth(link: Link, { check }: CreateOptions): boolean {
  return check !== undefined && checkedContainers(link).length > 0;
}

/** The tails of a link that are in containers which run by themselves: their names, and those of their containers. */
export function checkedContainers({ tails = [] }: Link): { name: string; container: string }[] {
  return tails.flatMap(({ name, tail, trigger }) =>
    !trigger && tail?.place.kind === 'container' ? { name, container: tail.place.name } : [],
  );
}

/** What the forwarder of one of several tails is started with besides; none for every other link. */
export function tailOptions({ tailOf, link, options: { check } }: PlannedLink): string[] {
  if (tailOf === undefined) return [];
  const isStarted = startsTail(link);
  const isLocal = link.child === undefined;
  const dialTimeout = namedTailOf(link) ? NAMED_DIAL_TIMEOUT : DIAL_TIMEOUT;
  return [
    ...['--hand-off', isStarted ? 'retry' : 'once'],
    ...(isLocal && !isStarted ? ['--dial-timeout', String(dialTimeout)] : []),
    ...(check === undefined || link.trigger ? [] : ['--check', String(check)]),
  ];
}

/** Where the front forwarder finds its tails: a directory, and the place where it sees it. */
export function tailsDirectory({
  id,
  tails,
}: Link): { handOffDirectory: string; tailsDirectory: string } | undefined {
  return tails && { handOffDirectory: handOffDirectory(id), tailsDirectory: TAILS_DIRECTORY };
}

function tailText(front: string, tail: LinkTail, options: CreateOptions): string {
  const { id, name, trigger, weight = 1 } = tail;
  const socket = `${TAILS_DIRECTORY}/${posix.basename(handOffSocket(front, id))}`;
  const words = [name, socket, weight, timeoutOf(tail, options)];
  return `${words.join(' ')}${trigger ? ' on-demand' : ''}`;
}

function timeoutOf(tail: LinkTail, { startTimeout }: CreateOptions): number {
  if (tail.trigger || startsTail(tail)) return startTimeout + RUNNING_TIMEOUT;
  const mustLearn = tail.child || (tail.tail && !isUnix(tail.tail) && hasHostName(tail.tail));
  return mustLearn ? FAR_TIMEOUT : RUNNING_TIMEOUT;
}
