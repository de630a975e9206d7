import * as v from 'valibot';
import { asLink } from '../recipe/as-link.js';
import { recipeFromText } from '../recipe/text.js';
import { isNetwork } from '../text/network.js';
import { printable } from '../text/printable.js';
import { SECTION } from './digest.js';
import { BALANCES, DEFAULT_OPTIONS, type LinkPlan } from './plan.js';
import { parseSection, readSection } from './section.js';

/** A unit file that says it is a link's, and does not hold what a link's must. */
export class UnreadableLink extends Error {}

const MAX_SECONDS = 365 * 24 * 3600;

const seconds = v.pipe(
  v.string(),
  v.digits('is not a number of seconds'),
  v.transform(Number),
  v.minValue(1, 'is not a number of seconds'),
  v.maxValue(MAX_SECONDS, 'is more than a year'),
);

const count = v.pipe(
  v.string(),
  v.digits('is not a number'),
  v.transform(Number),
  v.minValue(1, 'is not a number of at least 1'),
);

const networks = v.pipe(
  v.string(),
  v.transform((text) => text.split(',')),
  v.check((all) => all.every(isNetwork), 'is not a list of networks'),
);

const workers = v.union([v.literal('auto'), count], 'is neither auto nor a number of at least 1');

const linkSection = v.object({
  Id: v.string(),
  Recipe: v.string(),
  StartTimeout: v.optional(seconds, `${DEFAULT_OPTIONS.startTimeout}`),
  UdpTimeout: v.exactOptional(seconds),
  MaxConnections: v.exactOptional(count),
  MaxPerSource: v.exactOptional(count),
  Rate: v.exactOptional(count),
  IdleTimeout: v.exactOptional(seconds),
  KeepAlive: v.exactOptional(seconds),
  SocketMode: v.exactOptional(v.string()),
  SocketOwner: v.exactOptional(v.string()),
  Group: v.exactOptional(v.string()),
  Balance: v.exactOptional(v.picklist(BALANCES, `is none of ${BALANCES.join(', ')}`)),
  Check: v.exactOptional(seconds),
  Workers: v.exactOptional(workers),
  Pull: v.optional(
    v.picklist(['never', 'missing', 'always'], 'is not never, missing or always'),
    DEFAULT_OPTIONS.pull,
  ),
  ProxyProtocol: v.exactOptional(v.picklist(['v1', 'v2'], 'is neither v1 nor v2')),
  AcceptProxyProtocol: v.exactOptional(networks),
});

const farSection = v.object({ Far: v.string(), KeyFile: v.string() });

const ownerSection = v.object({
  Owned: v.string(),
  OwnerId: v.string(),
  Owner: v.string(),
  OwnerIdentity: v.exactOptional(v.string()),
  Allow: v.string(),
  ThroughTunnel: v.exactOptional(v.string()),
  Service: v.exactOptional(v.string()),
});

/**
 * Reads a link back from the text of its socket unit: the opposite of rendering.
 *
 * @returns the link; `child` for the socket of a child, whose recipe its root has; undefined when the file has no
 *   [X-Wormhole] section, and so is not a link's
 * @throws UnreadableLink when the section lacks a setting, or holds one that cannot be read
 */
export function readLink(text: string): LinkPlan | 'child' | undefined {
  const settings = readSection(text, SECTION);
  // The service of a link has such a section too.
  if (settings === undefined || settings.has('Link')) return undefined;
  if (settings.has('Parent')) return 'child';
  try {
    const {
      Id: id,
      Recipe: recipe,
      StartTimeout: startTimeout,
      Pull: pull,
      UdpTimeout: udpTimeout,
      MaxConnections: maxConnections,
      MaxPerSource: maxPerSource,
      Rate: rate,
      IdleTimeout: idleTimeout,
      KeepAlive: keepAlive,
      SocketMode: socketMode,
      SocketOwner: socketOwner,
      Group: group,
      ProxyProtocol: proxyProtocol,
      AcceptProxyProtocol: acceptProxyProtocol,
      Balance: balance,
      Check: check,
      Workers: threads,
    } = parseSection(linkSection, settings);
    const options = {
      startTimeout,
      pull,
      ...(udpTimeout !== undefined && { udpTimeout }),
      ...(maxConnections !== undefined && { maxConnections }),
      ...(maxPerSource !== undefined && { maxPerSource }),
      ...(rate !== undefined && { rate }),
      ...(idleTimeout !== undefined && { idleTimeout }),
      ...(keepAlive !== undefined && { keepAlive }),
      ...(socketMode !== undefined && { socketMode }),
      ...(socketOwner !== undefined && { socketOwner }),
      ...(group !== undefined && { group }),
      ...(proxyProtocol !== undefined && { proxyProtocol }),
      ...(acceptProxyProtocol !== undefined && { acceptProxyProtocol }),
      ...(balance !== undefined && { balance }),
      ...(check !== undefined && { check }),
      ...(threads !== undefined && { workers: threads }),
    };
    const plan: LinkPlan = { link: asLink(recipeFromText(recipe)), options };
    if (plan.link.id !== id) throw new Error(`Id=${printable(id)} is not the id in Recipe=`);
    if (hasAny(settings, farSection)) {
      const { Far: partId, KeyFile: keyFile } = parseSection(farSection, settings);
      plan.far = { partId, keyFile, ...readFarTails(settings) };
    }
    if (hasAny(settings, ownerSection)) plan.owner = readOwner(settings);
    const creator = settings.get('Creator');
    if (creator !== undefined) plan.creator = creator;
    const drained = settings.get('Drained')?.split(' ').filter(Boolean);
    if (drained?.length) plan.drained = drained;
    return plan;
  } catch (error) {
    throw new UnreadableLink(`[${SECTION}] cannot be read: ${(error as Error).message}`);
  }
}

function readOwner(settings: Map<string, string>): NonNullable<LinkPlan['owner']> {
  const { Owned, OwnerId, Owner, OwnerIdentity, Allow, ThroughTunnel, Service } = parseSection(
    ownerSection,
    settings,
  );
  return {
    partId: Owned,
    id: OwnerId,
    machine: Owner,
    ...(OwnerIdentity !== undefined && { identity: OwnerIdentity }),
    address: Allow,
    ...(ThroughTunnel !== undefined && { tunnel: ThroughTunnel }),
    ...(Service !== undefined && { service: Service }),
  };
}

/** The parts of several tails: `NAME=ID`, separated by spaces. */
function readFarTails(settings: Map<string, string>): { tails?: Record<string, string> } {
  const text = settings.get('FarTails');
  if (text === undefined) return {};
  return { tails: Object.fromEntries(text.split(' ').map((one) => one.split('='))) };
}

function hasAny(settings: Map<string, string>, { entries }: { entries: object }): boolean {
  return Object.keys(entries).some((name) => settings.has(name));
}
