import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { type CreateOptions, DEFAULT_OPTIONS, planLink, type RemoteBonds } from '../../src/units/plan.ts';
import { type Renderer, renderLink, type UnitFile } from '../../src/units/render.ts';
import { renderTunnel, type Tunnel } from '../../src/units/tunnel.ts';
import { installation, renderer, tunnelTemplate } from './renderer.ts';
import { readSettings } from './unit-syntax.ts';

/*
 * Every directive of every unit that Wormhole writes, for each kind of link and tunnel. In test/unit/unit-files a file a kind has
 * them; those that all units of a template have are in `every-…` alone. After a change that is meant to change them, WORMHOLE_UPDATE_UNIT_FILES=1 npm run test:unit -- unit-files writes these
 * files; the difference is for the reviewer to read.
 */

const DIRECTORY = fileURLToPath(new URL('./unit-files', import.meta.url));
const isUpdate = process.env.WORMHOLE_UPDATE_UNIT_FILES === '1';

/** A kind of link, and what its units are rendered from. */
interface Kind extends RemoteBonds {
  recipe: string[];
  options?: Partial<CreateOptions>;
  render?: Partial<Renderer>;
}

const PART = '0123456789abcdef0123456789abcdef';
const far = { partId: PART, keyFile: '/etc/wormhole/key.secret' };
const owner = { partId: PART, id: '3306', machine: 'alpha', address: '10.0.0.1' };
const words = (text: string) => text.split(' ');

const kinds: Record<string, Kind> = {
  'host-to-container': { recipe: words('id a url :3306 tail docker-ns db') },
  'container-to-container': { recipe: words('id a url :3306 docker-ns app tail docker-ns db') },
  'host-to-network': { recipe: words('id a url 10.0.0.9:80 tail url 10.0.0.5:81') },
  'wildcard-to-link-local': { recipe: words('id a url 0.0.0.0:80 tail url 169.254.169.254:80') },
  'namespace-to-namespace': { recipe: words('id a url blue@[::1]:80 tail url red@[fd00::5]:81') },
  'host-to-host': { recipe: words('id a url [::1]:80 tail url 127.0.0.1:81') },
  'host-to-host-with-route-localnet': {
    recipe: words('id a url :80 tail url :81'),
    render: { routing: { routesLoopback: true } },
  },
  'systemd-254': { recipe: words('id a url :80 tail url :81'), render: { systemd: 254 } },
  'on-demand': { recipe: [...words('id a url :80 trigger docker-run'), '--memory 256m nginx'] },
  'on-demand-idle-with-child': {
    recipe: [
      ...words('id a idle 30s url :80 trigger docker-run web'),
      ...words('child id b url :3306 trigger docker-run'),
      '--env-file /srv/db.env db',
    ],
    options: { startTimeout: 90, pull: 'never' },
  },
  'at-once-with-child': { recipe: words('id a url :80 tail docker-run web child id b url :81 tail url :82') },
  'existing-container-on-demand': { recipe: words('id a url :5432 idle 10m trigger docker-ns pg') },
  'service-on-demand': {
    recipe: words('id a url :80 idle 10m trigger unit web@a.service url :81 child id b url :82 tail url :83'),
    options: { startTimeout: 90 },
  },
  'service-at-once': { recipe: words('id a url :5432 docker-ns app tail unit postgresql.service') },
  'head-in-own-container': { recipe: words('id a url :1 docker-run app tail url :2') },
  'child-of-a-host': { recipe: words('id a url :80 trigger url :81 child id b url :82 tail url :83') },
  chain: { recipe: words('id a url :9000 chain id b url :9001 tail url :9002') },
  'chain-on-demand': {
    recipe: words('id a url :9000 trigger chain id b url :9001 idle 5m trigger docker-run x'),
  },
  datagrams: {
    recipe: words('id a url udp://10.0.0.9:53 tail docker-ns dns'),
    options: { udpTimeout: 5 },
  },
  'datagrams-and-streams': {
    recipe: words('id a url udp://:53 url tcp:// tail docker-ns dns'),
    options: { udpTimeout: 5 },
  },
  'path-to-container': {
    recipe: words('id a url unix:///run/mysql.sock tail url tcp://:3306 docker-ns db'),
    options: { socketMode: '0660', socketOwner: 'me:mysql', group: 'unused' },
  },
  'container-to-path': {
    recipe: words('id a url :5432 docker-ns app tail url unix:///run/postgresql/.s.PGSQL.5432'),
    options: { socketMode: '0660', socketOwner: 'unused', group: 'postgres', udpTimeout: 5 },
  },
  'path-to-path-in-run': {
    recipe: words('id a url unix:///srv/x tail url unix:///run/docker.sock'),
    options: { socketOwner: ':docker' },
  },
  'path-in-var-run': { recipe: words('id a url unix:///srv/x tail url unix:///var/run/docker.sock') },
  'path-in-the-directory-of-homes': { recipe: words('id a url unix:///srv/x tail url unix:///home/x') },
  'path-in-another-home': { recipe: words('id a url unix:///srv/x tail url unix:///srv/home/me/x') },
  'path-in-a-home': { recipe: words('id a url unix:///srv/x tail url unix:///home/me/x') },
  'unix-datagrams': { recipe: words('id a url unixgram:///srv/log tail url unixgram:///dev/log') },
  'unix-messages': { recipe: words('id a url unixpacket://@x tail url unixpacket://blue@@y') },
  'to-a-name': { recipe: words('id a url :5432 tail url db.example.com:5432') },
  'to-a-name-in-a-container': { recipe: words('id a url :5432 tail url db:5432 docker-ns app') },
  'to-another-machine': {
    recipe: words('id a url :3307 remote beta tail docker-ns db'),
    far,
  },
  'to-another-machine-on-demand': {
    recipe: words(
      'id a url :80 trigger docker-run web child id b url :3306 tunnel 10.0.0.2 trigger docker-run db',
    ),
    far,
    options: { startTimeout: 90 },
  },
  'part-for-another-machine': {
    recipe: words('id a url 10.0.0.2:61234 tail docker-ns db'),
    owner: { ...owner, identity: 'f'.repeat(32) },
  },
  'part-for-another-machine-through-a-tunnel': {
    recipe: words('id a url udp://100.64.0.2:61234 idle 1m trigger docker-run dns'),
    owner: { ...owner, tunnel: '0123456789abcdef' },
  },
  'created-from-another-machine': {
    recipe: words('id a url :80 tail url :81'),
    creator: 'f'.repeat(32),
    render: {
      installation: { ...installation, flags: ['--jitless'], libraries: ['/usr/lib', '/opt/my lib'] },
    },
  },
  'several-tails': {
    recipe: [
      ...words('id a url 0.0.0.0:80 idle 5m tail docker-ns web weight 2 or url db.example.com:81'),
      ...words('or trigger docker-run nginx or remote beta tail docker-ns web'),
    ],
    far: { ...far, tails: { beta: PART } },
    drained: ['web'],
    options: {
      ...{ balance: 'source', check: 5, proxyProtocol: 'v2', maxConnections: 100, maxPerSource: 3 },
      ...{ rate: 50, idleTimeout: 600, keepAlive: 60 },
    },
  },
  'four-workers': {
    recipe: words('id a url :80 tail docker-ns web child id b url :3306 tail docker-ns db'),
    options: { workers: 4 },
  },
  'workers-as-processors': {
    recipe: words('id a url :80 url udp:// tail url :81'),
    options: { workers: 'auto' },
  },
  'two-tails': {
    recipe: words('id a url unix:///run/a.sock tail url tcp://:80 docker-ns web or url tcp://:81'),
  },
};

const tunnel: Tunnel = {
  id: '1a2b3c4d5e6f7081',
  peer: 'beta:9998',
  machine: '5f0c1e9b2a7d4e68b3c1d0a9f8e7d6c5',
  outer: { local: '10.0.0.1', remote: '10.0.0.2' },
  inner: { local: '100.64.0.2', remote: '100.64.0.3' },
  mode: 'esp',
  asked: true,
  keyFile: '/etc/wormhole/key.secret',
};

const tunnels: Record<string, Tunnel> = {
  tunnel,
  'tunnel-in-udp': { ...tunnel, mode: 'udp', asked: false, outer: { local: 'fd00::1', remote: 'fd00::2' } },
};

function render({ recipe, options, render, ...bonds }: Kind): UnitFile[] {
  const plan = { link: asLink(parseRecipe(recipe)), options: { ...DEFAULT_OPTIONS, ...options }, ...bonds };
  return planLink(plan).flatMap((part) => renderLink(part, { ...renderer, ...render }));
}

/** The kinds of unit by the ends of their names, and the files that say what all of a kind have in common. */
const common: [RegExp, string][] = [
  [/^wormhole-tunnel@.*\.service$/, 'every-tunnel.service'],
  [/^wormhole-names@.*\.service$/, 'every-names.service'],
  [/^wormhole-names@.*\.socket$/, 'every-names.socket'],
  [/-run\.service$/, 'every-link-run.service'],
  [/\.service$/, 'every-link.service'],
  [/\.socket$/, 'every-link.socket'],
];
const kindOf = (unit: string) => common.find(([pattern]) => pattern.test(unit))?.[1] ?? unit;

/**
 * All directives of a unit in their order, each with its section before it. Without the digest, which is that of the whole text
 * with its comments.
 */
function directivesOf({ text }: UnitFile): string[] {
  const settings = readSettings(text).filter(({ name }) => name !== 'Digest');
  return settings.map(({ section, name, value }) => `[${section}] ${name}=${value}`);
}

/** The directives under their sections. */
function inSections(directives: string[]): string {
  let section = '';
  let lines = '';
  for (const directive of directives) {
    const [, own = '', setting = ''] = /^(\[[^\]]*\]) (.*)$/s.exec(directive) ?? [];
    if (own !== section) lines += `${own}\n`;
    section = own;
    lines += `${setting}\n`;
  }
  return lines;
}

/** The lines of each list that are in all of them, as often as in the one that has them the fewest times. */
function inAll(lists: string[][]): string[] {
  const [first = [], ...others] = lists;
  const rest = others.map((list) => [...list]);
  return first.filter((line) => {
    const places = rest.map((list) => list.indexOf(line));
    if (places.includes(-1)) return false;
    rest.forEach((list, at) => {
      list.splice(places[at] ?? 0, 1);
    });
    return true;
  });
}

/** A list without the lines of another. */
function without(list: string[], lines: string[]): string[] {
  const left = [...lines];
  return list.filter((line) => {
    const at = left.indexOf(line);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/** The texts of all files: what the units of a kind have in common, and what each link and tunnel has besides. */
function texts(rendered: Map<string, { title: string; files: UnitFile[] }>): Map<string, string> {
  const units = [...rendered.values()].flatMap(({ files }) => files);
  const shared = new Map(
    common.map(([, kind]) => [
      kind,
      inAll(units.filter(({ name }) => kindOf(name) === kind).map(directivesOf)),
    ]),
  );
  const all = new Map([...shared].map(([kind, lines]) => [`${kind}.txt`, inSections(lines)]));
  for (const [name, { title, files }] of rendered) {
    const own = files.map((file) => {
      const kind = kindOf(file.name);
      const lines = without(directivesOf(file), shared.get(kind) ?? []);
      return `\n## ${file.name}: ${kind}, and\n${inSections(lines)}`;
    });
    all.set(`${name}.txt`, `# ${title}\n${own.join('')}`);
  }
  return all;
}

const test = suite('the directives of units');

const inQuotes = (word: string) => (word.includes(' ') ? `"${word}"` : word);
const rendered = new Map<string, { title: string; files: UnitFile[] }>();
for (const [name, kind] of Object.entries(kinds))
  rendered.set(name, { title: kind.recipe.map(inQuotes).join(' '), files: render(kind) });
for (const [name, one] of Object.entries(tunnels))
  rendered.set(name, { title: name, files: [renderTunnel(one, installation, tunnelTemplate)] });
const expected = texts(rendered);

if (isUpdate) {
  rmSync(DIRECTORY, { recursive: true, force: true });
  mkdirSync(DIRECTORY);
  for (const [name, text] of expected) writeFileSync(join(DIRECTORY, name), text);
}

for (const [name, text] of expected)
  test(`${name} has them all`, () => {
    assert.fixture(text, readFileSync(join(DIRECTORY, name), 'utf8'));
  });

test('each file there is of a kind', () => {
  assert.equal(readdirSync(DIRECTORY).sort(), [...expected.keys()].sort());
});

test.run();
