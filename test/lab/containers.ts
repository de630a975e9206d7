import * as assert from 'uvu/assert';
import { succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';

/** The names of the containers that run. */
export async function running(host: Host): Promise<string> {
  return (await host.run(`docker ps --format '{{.Names}}' | sort`)).stdout;
}

/** No container but those of the links there are, and of each only one. */
export async function onlyOurs(host: Host): Promise<void> {
  const ids = JSON.parse(await succeeds(host, 'list --json')).map((link: { id: string }) => link.id);
  const { stdout } = await host.run(
    `docker ps -a --filter label=wormhole.link --format '{{.Label "wormhole.link"}} {{.Names}}' | sort`,
  );
  const expected = ids.flatMap((id: string) => [`${id} wormhole-${id}`, `${id} wormhole-${id}-netns`]).sort();
  assert.equal(stdout.trim().split('\n'), expected);
}
