import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { type KnownName, readKnownName, writeKnownName } from '../state/name-file.js';
import type { LogLine } from '../systemd/journal-entry.js';
import type { PassedSocket } from '../systemd/listen-fds.js';
import { hostPort } from '../text/ip-address.js';
import { OWN_RESOLVER } from '../units/names.js';
import { type Answer, lookUp } from './lookup.js';

/** What is looked up for which link. */
export interface NameService {
  link: string;
  name: string;
  port: number;
  /** As in {@link Question}. */
  allowLoopback: boolean;
  /** The file that the forwarder reads, open for reading and writing. */
  file: number;
}

/** Takes one line for the journal; `isWarning` of what an administrator has to see to. */
interface Log {
  info: LogLine;
  warn: LogLine;
}

/** The service ends when nobody has asked for this long, ms. */
const QUIET_MS = 5000;

/** It ends in any case after this long, ms, so that it sees a resolv.conf that has been replaced. */
const LONGEST_MS = 60_000;

/** There is no more than one lookup in this time, ms, however many ask. */
const PAUSE_MS = 1000;

/** How long addresses stay in use that could not be looked up again, before the next attempt, ms. */
const STALE_MS = 5000;

/** How long a name counts as absent, ms. */
const ABSENT_MS = 1000;

/** Connections that wait for a lookup. Further ones are closed, which says that the file is as it is. */
const MOST_WAITING = 64;

/**
 * Looks up the name of a link's tail whenever its forwarder connects to one of the sockets, writes what it has found to the file, and
 * closes the connection. Ends when nobody has asked for 5 s.
 */
export async function serveName(service: NameService, sockets: PassedSocket[], log: Log): Promise<void> {
  const waiting = new Set<Socket>();
  let last = performance.now();
  let next = 0;
  let running: Promise<void> | undefined;
  const accept = (socket: Socket): void => {
    last = performance.now();
    socket.on('error', () => {});
    socket.on('close', () => waiting.delete(socket));
    const isFresh = running === undefined && performance.now() < next;
    if (isFresh || waiting.size >= MOST_WAITING) {
      socket.destroy();
      return;
    }
    waiting.add(socket);
    running ??= refresh(service, log)
      .catch(({ message }: Error) => {
        const { link, name } = service;
        log.warn(`link ${link}: lookup of ${name} failed: ${message}. The next client tries again.`, {
          event: 'failed',
        });
      })
      .finally(() => {
        next = performance.now() + PAUSE_MS;
        running = undefined;
        for (const one of waiting) one.destroy();
      });
  };
  const servers = sockets.map(({ fd }) => createServer(accept).listen({ fd }));
  const end = performance.now() + LONGEST_MS;
  for (;;) {
    const wait = Math.min(last + QUIET_MS, end) - performance.now();
    if (wait <= 0 && running === undefined) break;
    await new Promise((done) => setTimeout(done, Math.max(wait, 100)));
  }
  for (const server of servers) server.close();
}

async function refresh({ link, name, port, allowLoopback, file }: NameService, log: Log): Promise<void> {
  const before = readKnownName(file, hostPort(name, port));
  const answer = await lookUp({
    name,
    allowLoopback,
    resolvConf: readEither(`${OWN_RESOLVER}/resolv.conf`, '/etc/resolv.conf'),
    hosts: readEither(`${OWN_RESOLVER}/hosts`, '/etc/hosts'),
  });
  const known = nextOf(answer, before, { name, port, now: Number(process.hrtime.bigint() / 1_000_000n) });
  writeKnownName(file, known);
  const line = describeChange(name, before, known);
  if (line === undefined) return;
  if (known.problem !== undefined) log.warn(`link ${link}: ${line}`, { event: 'failed' });
  else log.info(`link ${link}: ${line}`, { event: 'moved' });
}

/**
 * What is known after an answer. Addresses stay in use while no server can be asked; they do not when one says that the name has none.
 */
export function nextOf(
  answer: Answer,
  before: KnownName | undefined,
  { name, port, now }: Pick<NameService, 'name' | 'port'> & { now: number },
): KnownName {
  const known = { name: hostPort(name, port) };
  if (!('problem' in answer)) {
    const addresses = answer.addresses.map((address) => hostPort(address, port));
    return { ...known, addresses, until: now + 1000 * answer.ttl };
  }
  const { problem, isAnswer } = answer;
  const addresses = isAnswer ? [] : (before?.addresses ?? []);
  return { ...known, addresses, until: now + (addresses.length > 0 ? STALE_MS : ABSENT_MS), problem };
}

/** A line for the journal about what has changed; undefined when nothing has that anybody would have to know. */
export function describeChange(
  name: string,
  before: KnownName | undefined,
  { addresses, problem }: KnownName,
): string | undefined {
  const list = addresses.join(' and ');
  if (problem !== undefined) {
    if (problem === before?.problem) return undefined;
    const next =
      addresses.length > 0
        ? `The last known addresses, ${list}, stay in use; it is looked up again while clients come.`
        : 'Clients wait for 5 s, and are closed then; it is looked up again for each.';
    return `${problem}. ${next}`;
  }
  const hasMoved =
    before?.addresses.length !== 0 && !before?.addresses.some((one) => addresses.includes(one));
  if (before === undefined || (before.problem === undefined && !hasMoved)) return undefined;
  return `${name} is ${list}.`;
}

function readEither(...paths: string[]): string {
  for (const path of paths) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      // A container without a network has none, and a named namespace need not have its own.
    }
  }
  return '';
}
