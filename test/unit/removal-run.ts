import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { pauseImages } from '../../src/docker/pause-image.ts';
import { remove } from '../../src/links/remove.ts';
import { asLink } from '../../src/recipe/as-link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { formatCountersFile } from '../../src/state/counters-file.ts';
import type { Systemd } from '../../src/systemd/systemd.ts';
import { UNIT_DIR } from '../../src/systemd/unit-files.ts';
import { COUNTERS_DIR, countersFile } from '../../src/units/names.ts';
import { DEFAULT_OPTIONS, planLink } from '../../src/units/plan.ts';
import { renderLink } from '../../src/units/render.ts';
import { renderer } from './renderer.ts';

/*
 * Removes a link and its child, each with a container, in a mount namespace whose unit files, engine and systemd are made here. Strace,
 * under which it runs, sees the order: what systemd and the engine are told appears as a look for a file below /told.
 */

const tell = (what: string): boolean => existsSync(`/told/${what}`);

execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/etc']);
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
mkdirSync(`${UNIT_DIR}/sockets.target.wants`, { recursive: true });

const recipe = 'id a url :80 trigger docker-run web child id b url :81 trigger docker-run db';
const plan = { link: asLink(parseRecipe(recipe.split(' '))), options: DEFAULT_OPTIONS };
for (const { name, text } of planLink(plan).flatMap((part) => renderLink(part, renderer)))
  writeFileSync(`${UNIT_DIR}/${name}`, text);
symlinkSync('../wormhole-a.socket', `${UNIT_DIR}/sockets.target.wants/wormhole-a.socket`);
for (const id of ['a', 'b']) {
  mkdirSync(`/run/wormhole/links/${id}`, { recursive: true });
  writeFileSync(`/run/wormhole/links/${id}/given-up`, '');
  mkdirSync(COUNTERS_DIR, { recursive: true });
  writeFileSync(countersFile(id), formatCountersFile({ figures: { served: 1 }, texts: {} }));
}

/** The containers of both links, one that somebody else has, and which of them are removed. */
const containers = new Map(
  ['a', 'b'].flatMap((run) => [
    [`wormhole-${run}`, container(run, 'container')],
    [`wormhole-${run}-netns`, container(run, 'netns')],
  ]),
);

function container(run: string, role: string) {
  const name = `wormhole-${run}${role === 'netns' ? '-netns' : ''}`;
  return {
    Id: Buffer.from(name).toString('hex').padEnd(64, '0'),
    Name: `/${name}`,
    Image: role === 'netns' ? pauseImages[0]?.id : 'sha256:0',
    Config: { Labels: { 'wormhole.link': run, 'wormhole.run': run, 'wormhole.role': role } },
    HostConfig: { NetworkMode: role === 'netns' ? 'none' : 'container:x' },
    State: { Status: 'running', Running: true, Pid: 1 },
    Mounts: [],
  };
}

const find = (reference: string) =>
  [...containers.entries()].find(([name, { Id }]) => name === reference || Id === reference);

function answer({ method, url = '' }: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(url, 'http://engine');
  const reference = /\/containers\/([^/]+)(?:\/json)?$/.exec(pathname)?.[1] ?? '';
  const found = find(reference);
  const send = (status: number, body: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(status === 204 ? undefined : JSON.stringify(body));
  };
  if (pathname.endsWith('/_ping')) send(200, 'OK');
  else if (reference === 'json') send(200, []);
  else if (found === undefined) send(404, { message: `no such container: ${reference}` });
  else if (method === 'DELETE') {
    tell(`remove ${found[0]} ${searchParams.get('v') === 'true' ? 'with' : 'without'} volumes`);
    containers.delete(found[0]);
    send(204, undefined);
  } else send(200, found[1]);
}

const engine = createServer(answer).listen('/run/engine');
await new Promise((resolve) => engine.once('listening', resolve));
process.env.DOCKER_HOST = 'unix:///run/engine';

const systemd: Partial<Systemd> = {
  async stop(unit) {
    tell(`stop ${unit}`);
    // All that is stopped together is asked for before any of it has ended.
    await new Promise((resolve) => setTimeout(resolve, 20));
    tell(`stopped ${unit}`);
  },
  async resetFailed(unit) {
    tell(`forget ${unit}`);
  },
  // All of them have failed.
  loaded: async (units) => new Map(units.map((unit) => [unit, { load: 'not-found', active: 'failed' }])),
  state: async () => ({ load: 'loaded', active: 'inactive', needReload: false }),
  async beginReload() {
    tell('reload');
  },
};

tell('begin');
await remove(['b', 'a'], systemd as Systemd);
tell('end');
engine.close();
engine.closeAllConnections();
