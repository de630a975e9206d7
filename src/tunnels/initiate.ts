import { setTimeout as sleep } from 'node:timers/promises';
import { type SendRequest, versionAt, withConnection } from '../api/client.js';
import type { Machine } from '../api/connect.js';
import { parsePeerEndpoint } from '../api/endpoint.js';
import { Failure } from '../api/failure.js';
import { checkAcceptance, type PeerStatus, toWire } from '../api/tunnel-schema.js';
import { withLock } from '../state/lock.js';
import { ownMachineId } from '../state/machine-id.js';
import { readTunnels } from '../state/tunnels.js';
import { removeUnitFiles } from '../systemd/unit-files.js';
import { type Tunnel, tunnelUnit } from '../units/tunnel.js';
import { requirePinned } from './find.js';
import { bringUp, expireOtherIncoming, removeIncoming, tearDown } from './kernel.js';
import { endInitiating } from './negotiation.js';
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
 * When both machines ask each other at the same time, the one with the smaller machine id goes ahead, and the other takes
 * what comes of it.
 *
 * @returns the tunnel, whose unit file is written, but not started
 * @throws TunnelUnknown; OtherMachine, when nothing has changed; Unreachable, KeyUnusable; Failure, as the other machine reports it; IpError. Nothing is left of a
 *   new tunnel then, and an existing one continues with the keys it has
 */
export async function negotiateTunnel(request: TunnelRequest, settings: TunnelSettings): Promise<Tunnel> {
  const machine: Machine = { endpoint: parsePeerEndpoint(request.peer), keyFile: request.keyFile };
  if (machine.endpoint.kind === 'unix') throw new Error(`"${request.peer}" is this machine itself`);
  await repairTunnels();
  // The lock is not held while a machine that is away is waited for, or others would wait as well.
  await versionAt(machine);
  return withLock('asking', async () => {
    let { fresh } = request;
    const end = Date.now() + TIMEOUT_MS;
    while (Date.now() < end) {
      const tunnel = await initiate({ ...request, fresh }, machine, settings);
      if (tunnel) return tunnel;
      // The negotiation that the other machine has begun brings new keys as well.
      fresh = false;
      await sleep(PAUSE_MS * (1 + Math.random()));
    }
    throw new Error(`${request.peer} keeps asking for the same tunnel itself: try again`);
  });
}

/** One attempt; undefined when the other machine is asking for the same tunnel. */
async function initiate(
  request: TunnelRequest,
  machine: Machine,
  settings: TunnelSettings,
): Promise<Tunnel | undefined> {
  const { status, ends } = await withConnection(machine, async (send, ends) => ({
    status: await requestPeerStatus(send),
    ends,
  }));
  requirePinned(request.peer, status.machine);
  const prepared = await withLock('tunnels', () => prepare({ request, status, ends, settings }));
  if (prepared.step === 'wait') return undefined;
  if (prepared.step === 'done') return prepared.tunnel;
  // A machine with several addresses has to be asked by the one that the packets will go to.
  const endpoint = { ...machine.endpoint, host: ends.remote };
  const send: SendRequest = (apiRequest) =>
    withConnection({ ...machine, endpoint }, (sendNow) => sendNow(apiRequest));
  try {
    return await propose(prepared, { send, status, settings });
  } catch (error) {
    if (error instanceof Failure && error.code === 'busy') return undefined;
    throw error;
  } finally {
    endInitiating();
  }
}

interface Negotiation {
  send: SendRequest;
  status: PeerStatus;
  settings: TunnelSettings;
}

async function propose(
  { tunnel, known, keep, incoming, port }: Prepared & { step: 'propose' },
  { send, status, settings }: Negotiation,
): Promise<Tunnel> {
  const path = `/v1/tunnels/${tunnel.id}`;
  const machine = ownMachineId();
  let accepted = false;
  // What exists here of the tunnel: its addresses count as those of others until they are found to be free.
  let present = tunnel;
  try {
    const { external } = settings;
    const { mode, asked } = tunnel;
    const candidates = await candidatesFor(tunnel, known, settings);
    const proposal = {
      machine,
      ...(external !== undefined && { external }),
      mode,
      asked,
      keep,
      candidates,
      incoming,
      ...port,
    };
    const answer = checkAcceptance(await send({ method: 'PUT', path, body: toWire(proposal) }), mode);
    accepted = true;
    const agreed = { ...tunnel, inner: answer.inner };
    await withLock('tunnels', async () => {
      if (known) requireKnown(tunnel);
      else await requireFree(agreed, settings);
      present = agreed;
      await bringUp(agreed, answer.incoming, portsBetween(port.udpPort, answer.udpPort));
      writeTunnelUnit(agreed);
    });
    if (mode === 'udp') await sendHellos();
    await send({ method: 'POST', path: `${path}/settle`, body: { machine, spi: incoming.spi } });
    await withLock('tunnels', () => expireOtherIncoming(agreed, incoming.spi));
    return agreed;
  } catch (error) {
    if (!known) {
      await withLock('tunnels', () => undo(present));
      // If it cannot be told, it removes its side by itself in a minute.
      if (accepted && !status.tunnel) await send({ method: 'DELETE', path }).catch(() => {});
    } else if (error instanceof Failure && !accepted) {
      await withLock('tunnels', () => removeIncoming(tunnel, incoming));
    }
    if (error instanceof Failure && error.code === 'not-found') throw new TunnelUnknown(error.message);
    throw error;
  }
}

/** Removes what exists of a new tunnel. */
async function undo(tunnel: Tunnel): Promise<void> {
  removeUnitFiles([tunnelUnit(tunnel.peer)]);
  await tearDown(tunnel);
}

function requireKnown({ id, peer }: Tunnel): void {
  if (readTunnels().tunnels.some((tunnel) => tunnel.id === id)) return;
  throw new Error(`the tunnel to ${peer} has been deleted meanwhile`);
}
