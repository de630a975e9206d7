import { setTimeout as sleep } from 'node:timers/promises';
import { withConnection } from '../api/client.js';
import type { Machine } from '../api/connect.js';
import { parsePeerEndpoint } from '../api/endpoint.js';
import type { SendRequest } from '../api/exchange.js';
import { Failure } from '../api/failure.js';
import { checkAcceptance, type PeerStatus, toWire } from '../api/tunnel-schema.js';
import { withLock } from '../state/lock.js';
import { readTunnels } from '../state/tunnels.js';
import { removeUnitFiles, unlinkUnitFiles } from '../systemd/unit-files.js';
import type { AddressPair } from '../text/ip-address.js';
import { type Tunnel, tunnelUnit } from '../units/tunnel.js';
import { machineOfTunnel } from './find.js';
import { bringUp, expireOtherIncoming, removeIncoming, tearDown } from './kernel.js';
import { endInitiating, initiatorLock } from './negotiation.js';
import { requestPeerStatus } from './peer-status.js';
import { candidatesFor, type Prepared, prepare, requireFree, type TunnelRequest } from './prepare.js';
import { repairTunnels } from './repair.js';
import type { TunnelSettings } from './settings.js';
import { portsBetween, sendHellos } from './udp.js';
import { writeTunnelUnit } from './unit.js';

/** The other machine has no such tunnel, and nobody has asked for it here. */
export class TunnelUnknown extends Error {}

/** How long this machine waits for one that asks it for the same tunnel, and the pause between two attempts, ms. */
const TIMEOUT_MS = 90_000;
const PAUSE_MS = 200;

/**
 * Negotiates a tunnel with another machine, and brings it up on both: a new one, an existing one that lacks something on
 * either side, or one that is to be rekeyed. No packet is lost: each side receives with the new keys before the other sends
 * with them, and with the old ones for a while after.
 *
 * When both machines ask each other at the same time, the one with the smaller id goes ahead, and the other takes
 * what comes of it.
 *
 * @returns the tunnel, whose unit file is written, but not started
 * @throws TunnelUnknown; WrongIdentity, when nothing has changed; Unreachable, KeyUnusable; Failure, as the other machine reports it; IpError. Nothing is left of a
 *   new tunnel then, and an existing one continues with the keys it has
 */
export async function negotiateTunnel(request: TunnelRequest, settings: TunnelSettings): Promise<Tunnel> {
  const id = machineOfTunnel(request.peer);
  const machine: Machine = {
    endpoint: parsePeerEndpoint(request.peer),
    keyFile: request.keyFile,
    ...(id !== undefined && { id }),
  };
  if (machine.endpoint.kind === 'unix') throw new Error(`"${request.peer}" is this machine itself`);
  await repairTunnels();
  try {
    const proved = await withConnection(machine, async (_, session) => session.machine);
    const same = { ...machine, id: proved };
    return await withLock(initiatorLock(proved), () => initiateInTurn(request, same, settings));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.code, `machine ${request.peer}: ${error.message}`);
  }
}

/** Attempts, as long as the other machine is asking for the same tunnel. */
async function initiateInTurn(
  request: TunnelRequest,
  machine: Machine,
  settings: TunnelSettings,
): Promise<Tunnel> {
  let { fresh } = request;
  const end = performance.now() + TIMEOUT_MS;
  while (performance.now() < end) {
    const tunnel = await initiate({ ...request, fresh }, machine, settings);
    if (tunnel) return tunnel;
    // The negotiation that the other machine has begun brings new keys as well.
    fresh = false;
    await sleep(PAUSE_MS * (1 + Math.random()));
  }
  throw new Error(`${request.peer} keeps asking for the same tunnel itself: try again`);
}

/** One attempt; undefined when the other machine is asking for the same tunnel. */
async function initiate(
  request: TunnelRequest,
  machine: Machine,
  settings: TunnelSettings,
): Promise<Tunnel | undefined> {
  const { status, session } = await withConnection(machine, async (send, session) => ({
    status: await requestPeerStatus(send, session),
    session,
  }));
  const prepared = await withLock('tunnels', () => prepare({ request, status, session, settings }));
  if (prepared.step === 'wait') return undefined;
  if (prepared.step === 'done') return prepared.tunnel;
  // A machine with several addresses has to be asked by the one that the packets will go to.
  const endpoint = { ...machine.endpoint, host: session.remote };
  const same = { ...machine, endpoint, id: session.machine };
  const send: SendRequest = (apiRequest) => withConnection(same, (sendNow) => sendNow(apiRequest));
  try {
    return await propose(prepared, { send, status, settings });
  } catch (error) {
    if (error instanceof Failure && error.code === 'busy') return undefined;
    throw error;
  } finally {
    endInitiating(session.machine);
  }
}

interface Negotiation {
  send: SendRequest;
  status: PeerStatus;
  settings: TunnelSettings;
}

async function propose(
  prepared: Prepared & { step: 'propose' },
  { send, status, settings }: Negotiation,
): Promise<Tunnel> {
  const { tunnel, known, keep, incoming, port } = prepared;
  const path = `/v1/tunnels/${tunnel.id}`;
  let accepted = false;
  let hasUnit = known;
  // What exists here of the tunnel: its addresses count as those of others until they are found to be free.
  let present = tunnel;
  try {
    const { external } = settings;
    const { mode, asked } = tunnel;
    const candidates = await candidatesFor(prepared, settings);
    const proposal = {
      ...(external !== undefined && { external }),
      mode,
      asked,
      keep,
      candidates,
      incoming,
      ...port,
    };
    const answer = checkAcceptance(await send({ method: 'PUT', path, body: toWire(proposal) }), mode);
    requireOffered(answer.inner, candidates);
    accepted = true;
    const agreed = { ...tunnel, inner: answer.inner };
    await withLock('tunnels', async () => {
      if (known) requireKnown(tunnel);
      else await requireFree(agreed, settings);
      present = agreed;
      await bringUp(agreed, answer.incoming, portsBetween(port.udpPort, answer.udpPort));
      await writeTunnelUnit(agreed);
      hasUnit = true;
    });
    if (mode === 'udp') await sendHellos();
    await send({ method: 'POST', path: `${path}/settle`, body: { spi: incoming.spi } });
    await withLock('tunnels', () => expireOtherIncoming(agreed, incoming.spi));
    return agreed;
  } catch (error) {
    if (!known) {
      await withLock('tunnels', () => undo(present, hasUnit));
      // If it cannot be told, it removes its side by itself in a minute.
      if (accepted && !status.tunnel) await send({ method: 'DELETE', path }).catch(() => {});
    } else if (error instanceof Failure && !accepted) {
      await withLock('tunnels', () => removeIncoming(tunnel, incoming));
    }
    if (error instanceof Failure && error.code === 'not-found') throw new TunnelUnknown(error.message);
    throw error;
  }
}

/** @throws Failure when the other machine has chosen addresses of its own */
function requireOffered(inner: AddressPair, candidates: AddressPair[]): void {
  if (candidates.some(({ local, remote }) => local === inner.local && remote === inner.remote)) return;
  throw new Failure(
    'failed',
    `the answer makes no sense: the addresses ${inner.local} and ${inner.remote} were not offered for the tunnel`,
  );
}

/** Removes what exists of a new tunnel. */
async function undo(tunnel: Tunnel, hasUnit: boolean): Promise<void> {
  if (hasUnit) {
    unlinkUnitFiles([tunnelUnit(tunnel.peer)]);
    removeUnitFiles([tunnelUnit(tunnel.peer)]);
  }
  await tearDown(tunnel);
}

function requireKnown({ id, peer }: Tunnel): void {
  if (readTunnels().tunnels.some((tunnel) => tunnel.id === id)) return;
  throw new Error(`the tunnel to ${peer} has been deleted meanwhile`);
}
