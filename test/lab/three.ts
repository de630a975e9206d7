import { writeKey } from './cluster.ts';
import { installedHost, succeeds } from './installed.ts';
import { greeter } from './pair.ts';
import type { Host } from './rig/host.ts';

/** Two machines with links to each other, and a third one that has the same key, and may be in between. */
export interface Three {
  near: Host;
  myserver: Host;
  third: Host;
}

/** Boots them. */
export async function three(): Promise<Three> {
  const near = await installedHost({ name: 'near', docker: false });
  const myserver = await installedHost({ name: 'myserver', docker: false });
  const third = await installedHost({ name: 'third', docker: false });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  for (const host of [myserver, third]) await writeKey(host, key);
  await greeter(myserver, 'greeter', 7000, 'myserver');
  await greeter(near, 'home', 7001, 'near');
  return { near, myserver, third };
}

/** The id of a host. */
export async function idOf(host: Host): Promise<string> {
  return (await succeeds(host, 'ping')).split(' ')[1] ?? '';
}

/** Links, parts and tunnels of a host as it lists them, its units, and what it knows of others. */
export async function everything(host: Host): Promise<string> {
  const { stdout } = await host.run(`
    cd /etc/systemd/system; grep -r . wormhole-* --include='*' | grep -v -e far -e sync -e netns@ -e tunnel- -e counters -e metrics
    grep -r . /var/lib/wormhole /run/wormhole/links 2>/dev/null | grep -v -e identity.secret -e /traffic/
    true`);
  return stdout;
}
