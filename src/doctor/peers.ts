import { type Ping, ping } from '../api/client.js';
import { parsePeerEndpoint } from '../api/endpoint.js';
import { farChildOf } from '../recipe/link.js';
import type { Check, Facts } from './facts.js';
import { adviceOf, type Finding } from './finding.js';

/** Clocks may differ by this much, ms: the journals of two machines can still be compared. */
const CLOCK_MS = 30_000;

/** By this much they may differ for tunnels in UDP, ms: an older hello may have been recorded (WINDOW_MS of hellos.ts). */
const HELLO_MS = 300_000;

/** A machine that a link or a tunnel names. */
export interface NamedPeer {
  peer: string;
  keyFile: string;
  /** The ids of the links that lead to it. */
  links: string[];
  hasUdpTunnel: boolean;
}

/** Whether the machines that links and tunnels name can be asked, and have the same time. */
export const peersCheck: Check = {
  name: 'peers',
  async find(facts) {
    return (await Promise.all(namedPeers(facts).map(peerFindings))).flat();
  },
};

/** The machines that links and tunnels name, each with each key once. */
export function namedPeers({ links, tunnels }: Pick<Facts, 'links' | 'tunnels'>): NamedPeer[] {
  const peers = new Map<string, NamedPeer>();
  const named = (peer: string, keyFile: string): NamedPeer => {
    const key = `${peer} ${keyFile}`;
    const found = peers.get(key) ?? { peer, keyFile, links: [], hasUdpTunnel: false };
    peers.set(key, found);
    return found;
  };
  for (const { link, far, root } of links) {
    const child = farChildOf(link);
    const keyFile = (far ?? links.find(({ id }) => id === root)?.far)?.keyFile;
    if (child && keyFile !== undefined) {
      const peer = named(child.peer, keyFile);
      if (!peer.links.includes(root)) peer.links.push(root);
    }
  }
  for (const { peer, keyFile, mode } of tunnels.tunnels)
    if (mode === 'udp') named(peer, keyFile).hasUdpTunnel = true;
    else named(peer, keyFile);
  return [...peers.values()];
}

async function peerFindings(named: NamedPeer): Promise<Omit<Finding, 'check'>[]> {
  const { peer, keyFile } = named;
  let answer: Ping;
  try {
    answer = await ping({ endpoint: parsePeerEndpoint(peer), keyFile });
  } catch (error) {
    const { problem, advice } = adviceOf(error as Error, `wormhole ping ${peer} tries again`);
    return [{ subject: `machine ${peer}`, problem: `${problem}${usersOf(named)}`, advice }];
  }
  return answer.clockMs === undefined ? [] : clockFindings(named, answer.clockMs);
}

function usersOf({ links }: NamedPeer): string {
  return links.length === 0 ? '' : ` (link ${links.join(', ')} leads there)`;
}

/** What is wrong with the clock of a machine that is `ahead` of ours by so much, ms; behind, if negative. */
export function clockFindings(
  { peer, hasUdpTunnel }: Pick<NamedPeer, 'peer' | 'hasUdpTunnel'>,
  ahead: number,
): Omit<Finding, 'check'>[] {
  if (Math.abs(ahead) <= CLOCK_MS) return [];
  const difference = `its clock is ${Math.round(Math.abs(ahead) / 1000)} s ${ahead > 0 ? 'ahead of' : 'behind'} ours`;
  const consequence =
    hasUdpTunnel && Math.abs(ahead) > HELLO_MS
      ? ', and the tunnel in UDP does not notice when it has another address'
      : ', so that times in the two journals do not agree';
  return [
    {
      subject: `machine ${peer}`,
      problem: `${difference}${consequence}`,
      advice: 'timedatectl set-ntp true, on the machine whose clock is wrong',
    },
  ];
}
