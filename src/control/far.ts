import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { isSix } from '../recipe/address.js';
import { formatRecipe } from '../recipe/format.js';
import { type Child, farthest, type Link } from '../recipe/link.js';
import { parseUrl } from '../recipe/url.js';
import type { CreateOptions, FarPart } from '../units/plan.js';
import { parseMachine } from './api/address.js';
import { makePartAt } from './api/client.js';
import { Failure } from './api/failure.js';
import { ensureTunnel } from './tunnel/create.js';

/** The words of a recipe for a tunnel, and what each is. */
const TUNNEL_MODES = { tunnel: 'esp', udptunnel: 'udp' } as const;

/** A link of ours that has a part on another machine: what is needed to ask for it. */
export interface FarLink {
  id: string;
  link: Link & { child: Child & { peer: string } };
  far: FarPart;
  options: CreateOptions;
}

/** What a new link has on another machine. @param keyFile holds the key that both share */
export function newFarPart(keyFile: string): FarPart {
  return { key: randomBytes(16).toString('hex'), keyFile };
}

/** The part of a link with ids that has a child on another machine; undefined when none has. */
export function farLinkOf(root: Link, far: FarPart, options: CreateOptions): FarLink | undefined {
  const link = farthest(root);
  return link?.id === undefined ? undefined : { id: link.id, link, far, options };
}

/**
 * Has the other machine make its part of a link, or tell of it when it has. A tunnel to it is made or mended first, if the
 * recipe has one.
 *
 * @returns the address to connect to, such as `10.0.0.2:61234`: the port that the other machine has chosen, at its end of the
 *   tunnel, or at the address by which we have reached it, unless the recipe says another
 * @throws Failure, which names the machine; Unreachable, KeyUnusable; what ensureTunnel throws
 */
export async function makeFarPart({ id, link, far, options }: FarLink): Promise<string> {
  const { peer, kinship } = link.child;
  const part = lend(link);
  try {
    const tunnel =
      kinship === 'tunnel' || kinship === 'udptunnel'
        ? await ensureTunnel(peer, TUNNEL_MODES[kinship], far.keyFile)
        : undefined;
    const { url, reached } = await makePartAt(
      { address: parseMachine(peer), keyFile: far.keyFile },
      far.key,
      {
        recipe: formatRecipe(part),
        options,
        ...(tunnel && { tunnel: tunnel.id }),
        owner: { id, machine: hostname().replace(/[^A-Za-z0-9_.-]|^[^A-Za-z0-9]+/g, '') || 'unnamed' },
      },
    );
    const { port, host } = parseUrl({ text: url, position: 0 });
    const anyHost = part.head.host === undefined || /^(0\.0\.0\.0|::)$/.test(part.head.host);
    const wanted = anyHost ? (tunnel?.remote ?? reached) : host;
    return isSix(wanted ?? '') ? `[${wanted}]:${port}` : `${wanted}:${port}`;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.code, `machine ${peer}: ${error.message}`);
  }
}

/** The link of the far child, with what it has from the one it hangs on: the port of its tail, the span of idleness. */
function lend({ head, idle, child }: Link & { child: Child }): Link {
  return withPort(
    { ...child.link, ...(idle === undefined ? {} : { idle: child.link.idle ?? idle }) },
    head.port,
  );
}

function withPort(link: Link, port: number | undefined): Link {
  const done = { ...link };
  if (link.tail) done.tail = { ...link.tail };
  if (done.tail && port !== undefined) done.tail.port ??= port;
  if (link.child?.peer !== undefined) done.child = { ...link.child, link: withPort(link.child.link, port) };
  return done;
}
