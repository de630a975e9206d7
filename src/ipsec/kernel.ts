import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import type { AddressPair } from '../text/ip-address.js';
import { IpError, ip } from './apply.js';
import { type Occupied, parseNetwork } from './inner-addresses.js';
import { BLOCK_PRIORITY, interfaceOf, isTunnelNumber, numberOfInterface, PASS_PRIORITY } from './names.js';
import { type KernelAssociation, type KernelPolicy, parseAssociations, parsePolicies } from './parse.js';
import type { AssociationId, Ports, TunnelEnd } from './plan.js';

/** The interface of a tunnel as the kernel has it: bytes and packets are counted since it was added. */
export interface KernelInterface {
  number: number;
  up: boolean;
  mtu: number;
  addresses: AddressPair[];
  received: { bytes: number; packets: number };
  sent: { bytes: number; packets: number };
}

/** All that the kernel has of tunnels. */
export interface KernelState {
  associations: KernelAssociation[];
  policies: KernelPolicy[];
  interfaces: KernelInterface[];
  /** All addresses of this machine, of both families. */
  addresses: string[];
}

const address = v.object({ local: v.string(), address: v.exactOptional(v.string()) });
const traffic = v.object({ bytes: v.number(), packets: v.number() });

/** What `ip -s -j address show` prints of an interface. */
const linkJson = v.object({
  ifname: v.string(),
  mtu: v.number(),
  flags: v.array(v.string()),
  addr_info: v.array(v.object({ ...address.entries, family: v.string() })),
  stats64: v.exactOptional(v.object({ rx: traffic, tx: traffic })),
});
type LinkJson = v.InferOutput<typeof linkJson>;

/** What `ip -4 -j address show` prints of an interface: of one without such an address, some versions print {}. */
const addressesJson = v.object({ addr_info: v.exactOptional(v.array(address), []) });

/** What `ip -j route` prints. */
const routeToPeerJson = v.tuple([v.object({ dev: v.string() })]);
const routeJson = v.object({ dst: v.exactOptional(v.string()) });

/** Reads what the kernel has of tunnels. @throws IpError, also for lack of CAP_NET_ADMIN */
export async function readKernel(): Promise<KernelState> {
  const [states, policies, links] = await Promise.all([
    ip(['-s', 'xfrm', 'state', 'list', 'nokeys']),
    ip(['-s', 'xfrm', 'policy', 'list']),
    ipJson(v.array(linkJson), ['-s', '-j', 'address', 'show']),
  ]);
  return {
    associations: parseAssociations(states),
    policies: parsePolicies(policies).filter(isTunnelPolicy),
    interfaces: links.flatMap(readInterface),
    addresses: links.flatMap(({ addr_info }) => addr_info.map(({ local }) => local)),
  };
}

/** Whether the kernel has a tunnel's interface and policies exactly as they should be. */
export function hasInterface(state: KernelState, wanted: TunnelEnd): boolean {
  const { policies, interfaces } = state;
  const { number, outer, inner, mtu } = wanted;
  const found = interfaces.find((candidate) => candidate.number === number);
  if (!found?.up || found.mtu !== mtu || !hasAddress(state, wanted)) return false;
  const own = policies.filter((policy) => policy.ifId === number);
  const leads = (dir: string, src: string, dst: string) =>
    own.some((policy) => policy.dir === dir && policy.ends?.src === src && policy.ends.dst === dst);
  return (
    own.length === 2 &&
    leads('in', outer.remote, outer.local) &&
    leads('out', outer.local, outer.remote) &&
    policies.some(({ device, dst }) => device === interfaceOf(number) && dst === `${inner.remote}/32`)
  );
}

/** Whether the kernel has a tunnel's interface with its address, whatever else is wrong with it. */
export function hasAddress({ interfaces }: KernelState, { number, inner }: TunnelEnd): boolean {
  const [address, ...others] = interfaces.find((one) => one.number === number)?.addresses ?? [];
  return others.length === 0 && address?.local === inner.local && address.remote === inner.remote;
}

/** Whether the kernel blocks every way around a tunnel: whether it has all policies of `guardSteps`. */
export function isGuarded({ policies }: KernelState, { local, remote }: AddressPair): boolean {
  const blocks = (dir: string, dst: string) =>
    policies.some((one) => one.action === 'block' && one.dir === dir && one.dst === `${dst}/32`);
  return blocks('in', local) && blocks('fwd', remote) && blocks('out', remote);
}

/** The security associations of a tunnel, each direction's newest first; `other` is of addresses that it had before. */
export function associationsOf(
  { associations }: KernelState,
  number: number,
  { local, remote }: AddressPair,
) {
  const own = associations.filter((one) => one.number === number).toSorted((a, b) => b.added - a.added);
  const between = (from: string, to: string) => own.filter(({ src, dst }) => src === from && dst === to);
  const [incoming, outgoing] = [between(remote, local), between(local, remote)];
  const other = own.filter((one) => !incoming.includes(one) && !outgoing.includes(one));
  return { in: incoming, out: outgoing, other };
}

/** The UDP ports of an outgoing security association, if it has any. */
export function portsOf(outgoing: KernelAssociation | undefined): Ports | undefined {
  const [, local, remote] = /^espinudp (\d+) (\d+) /.exec(outgoing?.encapsulation ?? '') ?? [];
  if (local === undefined || remote === undefined) return undefined;
  return { local: Number(local), remote: Number(remote) };
}

/** The lines that end all that the kernel has of one tunnel, except the policies of `guardSteps`. */
export function linesToEnd({ associations, policies, interfaces }: KernelState, number: number): string[] {
  return [
    ...associations.filter((one) => one.number === number).map(endAssociation),
    ...policies.filter((one) => belongsTo(one, number)).map(endPolicy),
    ...interfaces.filter((one) => one.number === number).map(() => `link delete ${interfaceOf(number)}`),
  ];
}

/**
 * The lines that end what the kernel has of tunnels whose numbers are not among those given.
 *
 * @param guarded the pairs of inner addresses that stay blocked
 */
export function linesToSweep(state: KernelState, numbers: Set<number>, guarded: AddressPair[]): string[] {
  const blocked = new Set(guarded.flatMap(({ local, remote }) => [`${local}/32`, `${remote}/32`]));
  const unknown = [
    ...state.associations.map(({ number }) => number),
    ...state.policies.flatMap(({ ifId, number }) => (ifId === 0 ? (number ?? []) : ifId)),
    ...state.interfaces.map(({ number }) => number),
  ].filter((number) => !numbers.has(number));
  const passes = state.policies.filter(
    ({ priority, device }) =>
      priority === PASS_PRIORITY && !numbers.has(numberOfInterface(device ?? '') ?? 0),
  );
  const guards = state.policies.filter(({ action, dst }) => action === 'block' && !blocked.has(dst));
  return [
    ...[...new Set(unknown)].flatMap((number) => linesToEnd(state, number)),
    ...passes.map(endPolicy),
    ...guards.map(endPolicy),
  ];
}

/** The MTU of the device by which the kernel reaches an address, bytes. @throws IpError when there is no route */
export async function pathMtu(peer: string): Promise<number> {
  const [{ dev }] = await ipJson(routeToPeerJson, ['-j', 'route', 'get', peer]);
  return Number(readFileSync(`/sys/class/net/${dev}/mtu`, 'utf8'));
}

/** What a new tunnel must not use: the IPv4 addresses of this machine, and the networks it has routes to. @throws IpError */
export async function occupied(): Promise<Occupied> {
  const [links, routes] = await Promise.all([
    ipJson(v.array(addressesJson), ['-4', '-j', 'address', 'show']),
    ipJson(v.array(routeJson), ['-4', '-j', 'route', 'show', 'table', 'all']),
  ]);
  const addresses = links.flatMap(({ addr_info }) =>
    addr_info.flatMap(({ local, address }) => [local, address ?? local]),
  );
  const networks = routes.flatMap(({ dst }) =>
    dst === undefined || dst === 'default' ? [] : parseNetwork(dst),
  );
  return { addresses: new Set(addresses), networks };
}

/** Runs ip(8) with -j, and checks what it prints. @throws IpError, also when that has another form */
async function ipJson<T extends v.GenericSchema>(schema: T, args: string[]): Promise<v.InferOutput<T>> {
  const read = v.safeParse(schema, JSON.parse(await ip(args)));
  if (read.success) return read.output;
  throw new IpError(`ip ${args.join(' ')} printed unexpected output: ${read.issues[0].message}`);
}

function isTunnelPolicy({ action, priority, ifId, number, device }: KernelPolicy): boolean {
  if (isTunnelNumber(ifId) || isTunnelNumber(number ?? 0)) return true;
  if (action === 'block') return priority === BLOCK_PRIORITY;
  // One whose interface is gone is bound to a number.
  return priority === PASS_PRIORITY && device !== undefined;
}

function belongsTo({ ifId, number, device }: KernelPolicy, of: number): boolean {
  return ifId === of || number === of || device === interfaceOf(of);
}

function readInterface({ ifname, mtu, flags, addr_info, stats64 }: LinkJson): KernelInterface[] {
  const number = numberOfInterface(ifname);
  if (number === undefined) return [];
  if (stats64 === undefined) throw new IpError(`ip -s -j address show prints no counters of ${ifname}`);
  const four = addr_info.filter(({ family }) => family === 'inet');
  return [
    {
      number,
      mtu,
      up: flags.includes('UP'),
      addresses: four.map(({ local, address }) => ({ local, remote: address ?? '' })),
      received: { bytes: stats64.rx.bytes, packets: stats64.rx.packets },
      sent: { bytes: stats64.tx.bytes, packets: stats64.tx.packets },
    },
  ];
}

function endAssociation({ src, dst, spi }: AssociationId): string {
  return `xfrm state delete src ${src} dst ${dst} proto esp spi 0x${spi.toString(16)}`;
}

function endPolicy({ index, dir, ifId }: KernelPolicy): string {
  return `xfrm policy delete index ${index} dir ${dir}${ifId === 0 ? '' : ` if_id ${ifId}`}`;
}
