import { setTimeout as sleep } from 'node:timers/promises';
import { removeUnitFiles } from '../../systemd/unit-files.js';
import { type Tunnel, tunnelUnit } from '../../units/tunnel.js';
import { parseMachine } from '../api/address.js';
import { type Ask, versionAt, withLine } from '../api/client.js';
import type { Machine } from '../api/connect.js';
import { Failure } from '../api/failure.js';
import { checkAcceptance, type Greeting, toWire } from '../api/tunnel-schema.js';
import { withLock } from '../lock.js';
import { greet } from './greet.js';
import { ownMachine } from './machine-id.js';
import { doneAsking } from './marks.js';
import { mendTunnels } from './mend.js';
import { candidatesFor, type Prepared, prepare, requireFree, type Wanted } from './prepare.js';
import { end, raise, refuse, retire } from './raise.js';
import type { TunnelSettings } from './settings.js';
import { readTunnels } from './tunnels.js';
import { portsBetween, sayHello } from './udp.js';
import { writeTunnel } from './unit.js';

/** The other machine has no such tunnel, and is the one that would know. */
export class TunnelUnknown extends Error {}

/** How long a machine that asks the same of us is waited for, and how long at a time, ms. */
const PATIENCE_MS = 90_000;
const PAUSE_MS = 200;

/**
 * Agrees on a tunnel with another machine, and brings it up on both: a new one, one that is there and lacks something on
 * either side, or one that is to have new keys. Nothing under way is lost: each side receives with the new keys before the
 * other sends with them, and with the old ones for a while after.
 *
 * When both machines ask each other at the same time, the one whose id is smaller (machine-id.ts) goes ahead, and the
 * other takes what comes of it.
 *
 * @returns the tunnel, whose unit file is written, but not started
 * @throws TunnelUnknown; Unreachable, KeyUnusable; Failure, as the other machine tells it; IpError. Nothing is left of a
 *   new tunnel then, and a known one works on with the keys it has
 */
export async function askForTunnel(wanted: Wanted, settings: TunnelSettings): Promise<Tunnel> {
  const machine: Machine = { address: parseMachine(wanted.peer), keyFile: wanted.keyFile };
  if (machine.address.kind === 'unix') throw new Error(`"${wanted.peer}" is this machine itself`);
  await mendTunnels();
  // A machine that is away is not waited for with the lock held, or others would wait as well.
  await versionAt(machine);
  return withLock('asking', async () => {
    let { fresh } = wanted;
    const end = Date.now() + PATIENCE_MS;
    while (Date.now() < end) {
      const tunnel = await once({ ...wanted, fresh }, machine, settings);
      if (tunnel) return tunnel;
      // What the other machine has begun brings new keys as well.
      fresh = false;
      await sleep(PAUSE_MS * (1 + Math.random()));
    }
    throw new Error(`${wanted.peer} keeps asking for the same tunnel itself: try again`);
  });
}

/** One question; undefined when the other machine is asking the same. */
async function once(wanted: Wanted, machine: Machine, settings: TunnelSettings): Promise<Tunnel | undefined> {
  const { greeting, ends } = await withLine(machine, async (ask, ends) => ({
    greeting: await greet(ask),
    ends,
  }));
  const prepared = await withLock('tunnels', () => prepare(wanted, greeting, ends, settings));
  if (prepared.step === 'wait') return undefined;
  if (prepared.step === 'done') return prepared.tunnel;
  // A machine of several addresses is to be asked by the one that the packets will go to.
  const address = { ...machine.address, host: ends.remote };
  const ask: Ask = (...question) => withLine({ ...machine, address }, (line) => line(...question));
  try {
    return await agree(prepared, ask, greeting, settings);
  } catch (error) {
    if (error instanceof Failure && error.code === 'busy') return undefined;
    throw error;
  } finally {
    doneAsking();
  }
}

async function agree(
  { tunnel, known, keep, incoming, port }: Prepared & { step: 'ask' },
  ask: Ask,
  greeting: Greeting,
  settings: TunnelSettings,
): Promise<Tunnel> {
  const path = `/v1/tunnels/${tunnel.id}`;
  const machine = ownMachine();
  let accepted = false;
  // What there is here of the tunnel: its addresses are somebody else's until they are found to be free.
  let laid = tunnel;
  try {
    const external = settings.external === undefined ? {} : { external: settings.external };
    const candidates = await candidatesFor(tunnel, known, settings);
    const { mode, asked } = tunnel;
    const proposal = { machine, ...external, mode, asked, keep, candidates, incoming, ...port };
    const answer = checkAcceptance(await ask('PUT', path, toWire(proposal)), mode);
    accepted = true;
    const agreed = { ...tunnel, ...answer.overlay };
    await withLock('tunnels', async () => {
      if (known) requireKnown(tunnel);
      else await requireFree(agreed, settings);
      laid = agreed;
      await raise(agreed, answer.incoming, portsBetween(port.udpPort, answer.udpPort));
      writeTunnel(agreed);
    });
    if (mode === 'udp') await sayHello();
    await ask('POST', `${path}/settle`, { machine, spi: incoming.spi });
    await withLock('tunnels', () => retire(agreed, incoming.spi));
    return agreed;
  } catch (error) {
    if (!known) {
      await withLock('tunnels', () => takeBack(laid));
      // If it cannot be told, it takes its side back by itself in a minute.
      if (accepted && !greeting.tunnel) await ask('DELETE', path).catch(() => {});
    } else if (error instanceof Failure && !accepted) {
      await withLock('tunnels', () => refuse(tunnel, incoming));
    }
    if (error instanceof Failure && error.code === 'not-found') throw new TunnelUnknown(error.message);
    throw error;
  }
}

/** Takes a new tunnel back, as far as it has come. */
async function takeBack(tunnel: Tunnel): Promise<void> {
  removeUnitFiles([tunnelUnit(tunnel.peer)]);
  await end(tunnel);
}

function requireKnown({ id, peer }: Tunnel): void {
  if (readTunnels().tunnels.some((tunnel) => tunnel.id === id)) return;
  throw new Error(`the tunnel to ${peer} has been deleted meanwhile`);
}
