import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink, IncompleteRecipe } from '../../src/recipe/as-link.ts';
import { portOf } from '../../src/recipe/defaults.ts';
import { address, describePlace, endUrl } from '../../src/recipe/describe.ts';
import { formatRecipe } from '../../src/recipe/format.ts';
import { isRunArgument } from '../../src/recipe/keywords.ts';
import { findFarLink, type PlaceId } from '../../src/recipe/link.ts';
import { parseFarRecipe } from '../../src/recipe/parse.ts';
import { fillIn, type Recipe, type RecipeEnd, type RecipePlace, tailOf } from '../../src/recipe/recipe.ts';
import { parseRun } from '../../src/recipe/run.ts';
import { recipeFromText, recipeText } from '../../src/recipe/text.ts';
import { canonicalAddress } from '../../src/text/ip-address.ts';

const run = (args: string) => parseRun({ text: args, position: 0 });

test('addresses in the text of RFC 5952', () => {
  const canonical: Record<string, string | undefined> = {
    '127.0.0.1': '127.0.0.1',
    '2001:0DB8:0000:0000:0000:0000:0000:0001': '2001:db8::1',
    '2001:db8:0:1:1:1:1:1': '2001:db8:0:1:1:1:1:1',
    '2001:db8:0:0:1:0:0:1': '2001:db8::1:0:0:1',
    '2001:0:0:1:0:0:0:1': '2001:0:0:1::1',
    '0:0:0:0:0:0:0:0': '::',
    '::2': '::2',
    '::ffff:c000:0201': '::ffff:192.0.2.1',
    '64:ff9b::192.0.2.1': '64:ff9b::c000:201',
    'fe80::1%eth0': undefined,
    '[::1]': undefined,
    '127.1': undefined,
    localhost: undefined,
    '': undefined,
  };
  for (const [text, expected] of Object.entries(canonical)) assert.is(canonicalAddress(text), expected, text);
});

test('an end as text', () => {
  const ends: [end: RecipeEnd, url: string, text: string][] = [
    [
      { protocol: 'tcp', place: { kind: 'host' }, host: '127.0.0.1', port: 3306 },
      'tcp://127.0.0.1:3306',
      '127.0.0.1:3306',
    ],
    [{ protocol: 'udp', place: { kind: 'host' }, host: '::1', port: 80 }, 'udp://[::1]:80', '[::1]:80'],
    [
      { protocol: 'tcp', place: { kind: 'netns', name: 'blue' }, host: '127.0.0.1', port: 80 },
      'tcp://blue@127.0.0.1:80',
      '127.0.0.1:80',
    ],
    [{ protocol: 'tcp', place: { kind: 'container', name: 'app' }, host: '::' }, 'tcp://[::]', '[::]'],
    [{ protocol: 'tcp', place: run('nginx'), host: '10.0.0.1' }, 'tcp://10.0.0.1', '10.0.0.1'],
    [{ protocol: 'tcp', place: { kind: 'host' }, port: 13306 }, 'tcp://:13306', ':13306'],
    [{ protocol: 'tcp', place: { kind: 'host' } }, 'tcp://', ''],
    [{ protocol: 'unix', place: { kind: 'host' }, path: '/run/x.sock' }, 'unix:///run/x.sock', '/run/x.sock'],
    [
      { protocol: 'unixgram', place: { kind: 'netns', name: 'blue' }, path: '@x' },
      'unixgram://blue@@x',
      '@x',
    ],
  ];
  for (const [end, url, text] of ends) {
    assert.is(endUrl(end), url);
    assert.is(address(end), text);
  }
});

test('a place for people', () => {
  const places: [place: RecipePlace | PlaceId, text: string][] = [
    [{ kind: 'host' }, 'this host'],
    [{ kind: 'netns', name: 'blue' }, 'netns blue'],
    [{ kind: 'container', name: 'mysql' }, 'container mysql'],
    [run('-e A=b nginx'), 'a container of its own'],
    [{ kind: 'run', name: '80' }, 'the container of link 80'],
    [{ kind: 'run', name: '80-head' }, 'the container of link 80'],
  ];
  for (const [place, text] of places) assert.is(describePlace(place), text);
});

test('the canonical words of a recipe', () => {
  const recipes: Record<string, string> = {
    'url :3306 docker-ns app tail docker-ns mysql id db':
      'id db url tcp://127.0.0.1:3306 docker-ns app tail url tcp://127.0.0.1:3306 docker-ns mysql',
    'url red@ tail url blue@': 'url tcp://red@127.0.0.1 tail url tcp://blue@127.0.0.1',
    'url :80 trigger remote m tail': 'url tcp://127.0.0.1:80 trigger remote m tail url tcp://127.0.0.1:80',
    'url :80 tail remote m url 10.0.0.1 id away tail':
      'url tcp://127.0.0.1:80 remote m id away url tcp://10.0.0.1 tail url tcp://127.0.0.1:80',
    'url :80 remote m url blue@ tail':
      'url tcp://127.0.0.1:80 remote m url tcp://blue@ tail url tcp://127.0.0.1:80',
    'url :80 tail docker-ns app child url :81 docker-ns tail docker-ns db':
      'url tcp://127.0.0.1:80 tail url tcp://127.0.0.1:80 docker-ns app child url tcp://127.0.0.1:81 docker-ns tail url tcp://127.0.0.1:81 docker-ns db',
    'url :80 trigger docker-run "a b" child url :81 tail docker-ns db':
      "url tcp://127.0.0.1:80 trigger url tcp://127.0.0.1:80 docker-run 'a b' child url tcp://127.0.0.1:81 tail url tcp://127.0.0.1:81 docker-ns db",
    'url :53 url udp:// tail docker-ns dns':
      'url tcp://127.0.0.1:53 url udp://127.0.0.1:53 tail url 127.0.0.1:53 docker-ns dns',
    'url udp://blue@:53 url tcp:// tail':
      'url udp://blue@127.0.0.1:53 url tcp://blue@127.0.0.1:53 tail url 127.0.0.1:53',
    'url udp://:53 remote m tail': 'url udp://127.0.0.1:53 remote m url udp:// tail url udp://127.0.0.1:53',
    'url :53 url udp:// remote m tail':
      'url tcp://127.0.0.1:53 url udp://127.0.0.1:53 remote m url tcp:// url udp:// tail url 127.0.0.1:53',
    'url unix:///run/a url tcp://:80 tail url unix://blue@@b':
      'url unix:///run/a url tcp://127.0.0.1:80 tail url unix://blue@@b',
    'url :80 trigger docker-run a chain url :81 tail docker-ns /tail':
      'url tcp://127.0.0.1:80 trigger chain url tcp://127.0.0.1:81 docker-run a tail url tcp://127.0.0.1:81 docker-ns /tail',
  };
  for (const [text, canonical] of Object.entries(recipes)) {
    assert.is(recipeText(recipeFromText(text)), canonical);
  }
});

test('a line of text keeps every backslash and quote of its words', () => {
  for (const args of [
    '\\\\',
    "a 'b' \\\\ c",
    `sh -c "echo \\"it's\\" $HOME"`,
    "'a'",
    "\\'b",
    "a\\\"'c'",
    '#a',
  ]) {
    const link = recipeFromText('url :80 tail docker-ns a');
    link.head.place = run(`x ${args}`);
    assert.equal(recipeFromText(recipeText(link)), link, args);
  }
});

test('the tail of a link is its own or the head of its child', () => {
  const tailPort = (text: string) => portOf(tailOf(recipeFromText(text)));
  assert.is(tailPort('url :80 tail url :81'), 81);
  assert.is(tailPort('url :80 tail url :81 child url :82 tail docker-ns a'), 81);
  assert.is(tailPort('url :80 chain url :81 tail docker-ns a'), 81);
  assert.is(tailPort('url :80 remote m url :81 tail docker-ns a'), 81);
  const headOnly = { head: recipeFromText('tail docker-ns a').head, trigger: false };
  assert.throws(() => tailOf(headOnly), /neither a tail nor a child/);
});

test('the link of a far child is read alone as it was in its recipe', () => {
  for (const text of [
    'url :80 remote m tail docker-ns a',
    'url :80 remote m url :81 idle 5m id x trigger docker-run nginx child url :82 tail docker-ns b',
    'url :80 remote m docker-ns c tail',
    'url [::1]:80 remote m remote n tail url 10.0.0.1:81',
    'remote m tail docker-ns a',
    'url udp://:53 remote m tail docker-ns dns',
    'url :53 url udp:// remote m tail docker-ns dns',
    'url :53 url udp:// remote m url blue@10.0.0.1 tail docker-ns dns',
    'url unix:///run/a remote m tail url unix:///run/b',
  ]) {
    const { child } = recipeFromText(text);
    assert.equal(parseFarRecipe(formatRecipe(child?.link as Recipe)), child?.link, text);
  }
});

test('the link whose child is on another machine', () => {
  const local = 'id a url :80 trigger docker-ns a child id b url :81 tail docker-ns b';
  assert.is(findFarLink(asLink(recipeFromText(local))), undefined);
  const remote = 'id a url :80 chain id b url :81 remote m remote n tail docker-ns a';
  const far = findFarLink(asLink(recipeFromText(remote)));
  assert.is(far && portOf(far.head), 81);
  assert.is(far?.child.peer, 'm');
});

test('what docker-run is given counts as secret, in quotes or not, up to the next keyword', () => {
  const words = [
    'url',
    ':80',
    'trigger',
    'docker-run',
    '-e PASSWORD=x db',
    'mysqld',
    'child',
    'url',
    ':81',
    'x',
  ];
  assert.equal(
    words.filter((_, at) => isRunArgument(words, at)),
    ['-e PASSWORD=x db', 'mysqld'],
  );
  // What follows directly is its argument, even a keyword.
  const keyword = ['docker-run', 'tail', 'tail', 'x'];
  assert.equal(
    keyword.map((_, at) => isRunArgument(keyword, at)),
    [false, true, false, false],
  );
  assert.is(isRunArgument(['docker-run', 'a'], 2), true, 'also the place behind the last word');
  assert.is(isRunArgument([], 0), false);
});

test('an end gets the host and the port that it lacks, in each of its addresses, and no other', () => {
  const end: RecipeEnd = {
    ...{ protocol: 'udp', place: { kind: 'host' }, port: 53 },
    also: [{ protocol: 'tcp' }, { protocol: 'unix', path: '/run/x' }, { protocol: 'tcp', host: '::1' }],
  };
  const copy = structuredClone(end);
  assert.equal(fillIn(end, { host: '10.0.0.1', port: 54 }), {
    ...{ protocol: 'udp', place: { kind: 'host' }, host: '10.0.0.1', port: 53 },
    also: [
      { protocol: 'tcp', host: '10.0.0.1', port: 54 },
      { protocol: 'unix', path: '/run/x' },
      { protocol: 'tcp', host: '::1', port: 54 },
    ],
  });
  assert.equal(end, copy, 'the end itself stays as it is');
  const path: RecipeEnd = { protocol: 'unix', path: '/run/x', place: { kind: 'host' } };
  assert.equal(fillIn(path, { port: 1 }), path);
});

test('a recipe that leaves an id, a host or a port open is no link', () => {
  for (const [text, message] of [
    ['url :80 tail url :81', 'a link lacks its id'],
    ['id a tail url :81', 'an end lacks its port'],
    ['id a url :80 chain url :81 tail url :82', 'a link lacks its id'],
  ] as const)
    assert.throws(
      () => asLink(recipeFromText(text)),
      (error: Error) => error instanceof IncompleteRecipe && error.message === message,
      text,
    );
  const far = recipeFromText('id a url :80 remote m id b tail docker-ns x').child?.link as Recipe;
  assert.throws(() => asLink(far), /^an end lacks its host$/);
  assert.not.ok('idle' in asLink(recipeFromText('id a url :80 tail url :81')));
});

test('the head of a child is in the container of its parent when it is the same one', () => {
  const places = (text: string) => {
    const { child, ...link } = asLink(recipeFromText(text));
    const head = (child?.link as typeof link | undefined)?.head;
    return [link.tail?.place, head?.place].map((place) => (place?.kind === 'run' ? place.name : place?.kind));
  };
  const child = (place: string) => `id a url :1 trigger docker-run x child id b url :2 ${place} tail url :3`;
  assert.equal(places(child('')), ['a', 'a']);
  assert.equal(places(child('docker-ns')), ['a', 'host']);
  const other = 'id a url :1 tail docker-ns x child id b url :2';
  assert.equal(places(`${other} tail url :3`), ['container', 'container']);
  assert.equal(places('id a url :1 tail url :4 child id b url :2 docker-run x tail url :3'), [
    'host',
    'b-head',
  ]);
});

test('what listens elsewhere is no circle', () => {
  for (const text of [
    'url unix:///run/x tail url unix:///run/y',
    'url unix://@x tail url unix://blue@@x',
    'url unix://@x tail url unix://@y',
    'url :80 url unix:///run/x tail url unix:///run/y',
    'url blue@:80 tail url red@:80',
    'url :80 docker-ns a tail docker-ns b',
    'url :80 docker-run x tail docker-run x',
    'url [::]:80 tail url 10.0.0.1',
    'url [::]:80 tail url [fd00::1]',
    'url 0.0.0.0:80 tail url 10.0.0.1',
    'url :80 tail docker-ns x',
    'url :80 docker-ns x tail',
  ])
    assert.not.throws(() => recipeFromText(text), text);
});

test('host names with digits in them, and paths with blanks', () => {
  for (const text of [
    'url :80 remote a.2b tail docker-ns x',
    'url :80 remote a.b2 tail docker-ns x',
    'url :80 remote 3com tail docker-ns x',
    "url 'unix:///run/a b' tail url :1",
  ])
    assert.is(recipeText(recipeFromText(recipeText(recipeFromText(text)))), recipeText(recipeFromText(text)));
});

test('a link is written without being changed', () => {
  const link = recipeFromText('url :80 docker-ns a tail docker-ns b child url :81 tail');
  const copy = structuredClone(link);
  formatRecipe(link);
  assert.equal(link, copy);
});

test.run();
