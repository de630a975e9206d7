import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { completeLink, Taken } from '../../src/links/complete.ts';
import { localPorts } from '../../src/links/socket-tables.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import type { Recipe } from '../../src/recipe/recipe.ts';
import { recipeText } from '../../src/recipe/text.ts';
import type { Links } from '../../src/state/links.ts';
import { DEFAULT_OPTIONS, planLink } from '../../src/units/plan.ts';

const none: Links = { links: [], unreadable: [] };
const recipe = (text: string): Recipe => parseRecipe(text.split(' '));
const choosePort = async () => 61000;

async function complete(text: string, existing: Links = none): Promise<string> {
  return recipeText(await completeLink(recipe(text), { existing, choosePort }));
}

async function existing(...texts: string[]): Promise<Links> {
  const links: Links = { links: [], unreadable: [] };
  for (const text of texts) {
    const link = await completeLink(recipe(text), { existing: links, choosePort });
    links.links.push(...planLink({ link, options: DEFAULT_OPTIONS }));
  }
  return links;
}

async function refusal(text: string, links: Links): Promise<string> {
  try {
    await complete(text, links);
  } catch (error) {
    assert.instance(error, Taken);
    return (error as Error).message;
  }
  throw new Error(`${text} was not refused`);
}

const test = suite('what a recipe leaves open');

test('the id is the head port', async () => {
  assert.match(await complete('url :3306 tail docker-ns db'), /^id 3306 /);
});

test('a container or netns of the head stands behind it', async () => {
  assert.match(await complete('url :3306 docker-ns app tail docker-ns db'), /^id 3306-app /);
  assert.match(await complete('url blue@:80 tail url :8080'), /^id 80-blue /);
});

test('a taken one gets a number', async () => {
  const links = await existing('id 80 url :1 tail url :2', 'id 80-2 url :3 tail url :4');
  assert.match(await complete('url :80 tail url :8080', links), /^id 80-3 /);
});

test('an id is never what a unit of another link is called', async () => {
  assert.match(await complete('url :80 docker-ns run tail docker-ns db'), /^id 80-run-2 /);
  assert.match(await complete('url :80 docker-ns head tail docker-ns db'), /^id 80-head-2 /);
});

test('a child begins with its parent, and is named after its own head', async () => {
  assert.is(
    await complete('url :9000 chain url :9001 tail url :9002'),
    'id 9000 url tcp://127.0.0.1:9000 chain id 9000-9001 url tcp://127.0.0.1:9001 tail url tcp://127.0.0.1:9002',
  );
});

test('a missing head port is chosen, and the tail follows', async () => {
  assert.is(
    await complete('url 127.0.0.2 tail docker-ns db'),
    'id 61000 url tcp://127.0.0.2:61000 tail url tcp://127.0.0.1:61000 docker-ns db',
  );
});

test('an id that is taken is refused', async () => {
  const links = await existing('id web url :1 tail url :2');
  assert.is(
    await refusal('id web url :3 tail url :4', links),
    'id "web" is taken: wormhole delete web, or take another id',
  );
  assert.match(
    await refusal('id bad url :3 tail url :4', { links: [], unreadable: [{ id: 'bad', reason: '' }] }),
    /taken/,
  );
});

test('a head that is taken is refused, and only there', async () => {
  const links = await existing('url :80 tail url :8080');
  assert.match(
    await refusal('id other url :80 tail url :81', links),
    /^link "80" listens on 127.0.0.1:80 already/,
  );
  assert.match(await refusal('url 0.0.0.0:80 tail url :81', links), /^link "80" listens/);
  assert.match(await complete('url 127.0.0.2:80 tail url :81', links), /^id 80-2 /);
  assert.match(await complete('url [::1]:80 tail url :81', links), /^id 80-2 /);
  assert.match(await complete('url :80 docker-ns app tail url :81', links), /^id 80-app /);
});

test('a wildcard head takes every address of its family, :: both', async () => {
  const links = await existing(
    'url 0.0.0.0:80 tail url 127.0.0.1:8080',
    'url [::]:81 tail url 127.0.0.1:8080',
  );
  assert.match(await refusal('url :80 tail url :82', links), /^link "80" listens/);
  assert.match(await complete('url [::1]:80 tail url :82', links), /^id 80-2 /);
  assert.match(await refusal('url :81 tail url :82', links), /^link "81" listens/);
});

test('local ports are read from the kernel tables', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   100        0 1 1 0 100 0 0 10 0
   1: 0100007F:EE48 0100007F:0CEA 01 00000000:00000000 00:00000000 00000000   100        0 2 1 0 20 4 30 10 -1
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000\n`;
  assert.equal([...localPorts(table)], [3306, 61000, 80]);
});

test('links that lead to each other are refused, however many are between', async () => {
  const links = await existing(
    'id a url :1 tail url :2',
    'id b url :2 tail url :3',
    'id side url :9 tail url :2',
  );
  assert.is(
    await refusal('id c url :3 tail url :1', links),
    'link "c" would lead back to itself (c to a to b to c), and its clients would go round in circles: take another tail',
  );
  assert.match(await refusal('id c url :3 tail url :80 or url localhost:1', links), /c to a to b to c/);
  assert.match(await refusal('id c url 0.0.0.0:3 tail url 127.0.0.1:2', links), /c to b to c/);
  assert.match(await refusal('id c url :4 chain url :3 tail url :1', links), /to a to b to /);
});

test('unix sockets lead back by other paths of theirs, too', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-loop-'));
  const other = join(directory, 'other');
  symlinkSync('.', other);
  const links = await existing(
    `id a url unixgram://${directory}/1 tail url unixgram://${directory}/2`,
    `id b url unixgram://${directory}/2 tail url unixgram://${other}/3`,
  );
  assert.match(
    await refusal(`id c url unixgram://${directory}/3 tail url unixgram://${other}/1`, links),
    /^link "c" would lead back to itself \(c to a to b to c\)/,
  );
  assert.match(
    await refusal(`id c url unixgram://${directory}/4 tail url unixgram://${other}/4`, links),
    /^link "c" would lead back to itself \(c to c\)/,
  );
  assert.match(
    await complete(`id c url unixgram://${directory}/4 tail url unixgram://${directory}/none/4`, links),
    /^id c /,
  );
  rmSync(directory, { recursive: true });
});

test('a link to another link, to itself in another place, and to another machine is none that leads back', async () => {
  const links = await existing('id a url :1 tail url :2', 'id b url :2 docker-ns web tail url :1');
  assert.match(await complete('id c url :3 tail url :1', links), /^id c /);
  assert.match(await complete('id c url :2 tail url :1 docker-ns web', links), /^id c /);
  assert.match(await complete('id c url :2 remote far tail url :1', links), /^id c /);
});

test.run();
