import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { listens } from './listening.ts';
import type { Host } from './rig/host.ts';

/** Two hosts with Docker and one key: who types the commands, and `myserver`, where the database is. */
export interface Pair {
  near: Host;
  myserver: Host;
}

/** Boots a {@link Pair}. Docker on myserver can be reached from near, as `docker -H myserver`. */
export async function pair(): Promise<Pair> {
  const near = await installedHost({ name: 'near' });
  const myserver = await installedHost({ name: 'myserver' });
  await writeKey(myserver, (await near.run('cat /etc/wormhole/key.secret')).stdout);
  return { near, myserver };
}

/** A server on a host that answers every connection with that text, and what it is to be found at. */
export async function greeter(host: Host, unit: string, port: number, text: string): Promise<void> {
  await host.run(
    `systemd-run --unit ${unit} socat TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork EXEC:'echo ${text}'`,
  );
  await listens(host, port);
}

/** What a port of a host's 127.0.0.1 says to somebody who says nothing. */
export async function hears(host: Host, port: number): Promise<string> {
  return (await host.run(`nc -w 50 127.0.0.1 ${port} </dev/null`, { check: false, timeout: 60 })).stdout;
}

/** The far part on a host: its address and id, as its `wormhole list --json` tells them. */
export async function partOn(host: Host): Promise<{ id: string; address: string; port: number }> {
  const [part, ...others] = (JSON.parse(await succeeds(host, 'list --json')) as ListedPart[]).filter(
    ({ owner }) => owner !== undefined,
  );
  assert.equal(others, [], 'one part');
  const [, address = '', port] = /^tcp:\/\/(.+):(\d+)$/.exec(part?.head.url ?? '') ?? [];
  return { id: part?.id ?? '', address, port: Number(port) };
}

interface ListedPart {
  id: string;
  owner?: string;
  head: { url: string };
}

/** Waits until nothing is left of any link on any of the hosts. */
export async function allGone(...hosts: Host[]): Promise<void> {
  for (const host of hosts) await leavesNothing(host);
}

/** What the far service of a host has written since this was asked the last time. */
export async function farSaid(host: Host): Promise<string> {
  await host.run('journalctl --sync');
  const log = 'journalctl -q -o cat -t wormhole-far --cursor-file=/var/tmp/far-said --no-pager -n all';
  return (await host.run(log, { check: false })).stdout;
}
