import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkBalanceOptions } from '../../src/links/balance-options.ts';
import { asLink } from '../../src/recipe/as-link.ts';
import { RecipeError } from '../../src/recipe/error.ts';
import { parseFarRecipe, parseRecipe } from '../../src/recipe/parse.ts';
import { recipeFromText, recipeText } from '../../src/recipe/text.ts';
import { isEdited } from '../../src/units/digest.ts';
import { withDrained } from '../../src/units/drain.ts';
import { type CreateOptions, DEFAULT_OPTIONS, type PlannedLink, planLink } from '../../src/units/plan.ts';
import { readLink } from '../../src/units/read.ts';
import { renderLink } from '../../src/units/render.ts';
import { renderer } from './renderer.ts';

/* Links with several tails: words, names, parts and units. */

const words = (text: string) => parseRecipe(text.split(' '));
const link = (text: string) => asLink(words(`id x ${text}`));

test('or begins another tail, which has the defaults of a tail', () => {
  const recipe = words('url :80 tail docker-ns web1 or docker-ns web2 weight 3 or url 10.0.0.7:8080');
  assert.is(
    recipeText(recipe),
    'url tcp://127.0.0.1:80 tail url tcp://127.0.0.1:80 docker-ns web1 or url tcp://127.0.0.1:80 docker-ns web2 weight 3 or url tcp://10.0.0.7:8080',
  );
  assert.is(recipe.tail, undefined);
  assert.equal(
    recipe.tails?.map(({ weight }) => weight),
    [undefined, 3, undefined],
  );
});

test('a recipe with several tails survives the round trip', () => {
  for (const text of [
    'url :80 tail docker-ns a or docker-ns b',
    'url :80 tail docker-ns /or or docker-ns /weight weight 2',
    'url :80 trigger docker-run nginx or trigger docker-run nginx weight 7',
    'url :5432 tail docker-ns a or remote b tail docker-ns pg weight 2 or trigger tunnel c trigger docker-run pg',
    'idle 5m url unix:///run/x.sock tail url unix:///run/a.sock or url :80 or url blue@:81',
    'url :80 docker-ns app remote a tail url :81 or remote a tail url :82',
  ]) {
    const recipe = words(text);
    assert.equal(recipeFromText(recipeText(recipe)), recipe, text);
  }
});

test('what cannot have several tails is refused, with what would work', () => {
  const refused: [string, RegExp][] = [
    ['url udp://:53 tail url :54 or url :55', /word 6, "or": a udp head has one tail; .*make a link of each/],
    ['url :53 url udp:// tail docker-ns a or docker-ns b', /a udp head has one tail/],
    ['url unixpacket:///a tail url unixpacket:///b or url unixpacket:///c', /a unixpacket head has one tail/],
    [
      'url :1 tail url :2 child url :3 tail url :4 or url :5',
      /"or": only the link that is created has several/,
    ],
    ['url :1 chain url :2 tail url :3 or url :4', /"or": only the link that is created has several/],
    ['url :1 tail url :2 or url :3 child url :4 tail url :5', /"child": .* make a link of each/],
    ['url :1 or url :2', /"or": .* say tail or trigger first/],
    ['url :1 tail url :2 or url :1', /"or": cannot proxy to self/],
    ['url :1 tail url :2 or url :3 idle 5s', /"idle": .* say idle before the first tail/],
    ['url :1 tail url :2 weight 2', /"weight": a weight is for a link with several tails/],
    ['url :1 weight 2 tail url :2 or url :3', /"weight": .* say tail or trigger first/],
    ['url :1 tail url :2 or url :3 weight 257', /"257": a weight is a whole number from 1 to 256/],
    ['url :1 tail url :2 or url :3 weight', /after "weight"/],
    ['url :1 tail url :2 or', /^after "or" \(word 6\): a tail is missing; .*such as url :8080/],
    ['url :1 tail url :2 or or url :3', /^after "or" \(word 6\): a tail is missing/],
    ['url :1 tail url :2 or weight 2', /^after "or" \(word 6\): a tail is missing/],
    ['url :1 remote service:db or', /^after "or" \(word 5\): a tail is missing/],
  ];
  for (const [text, reason] of refused)
    assert.throws(
      () => words(text),
      (error: Error) => error instanceof RecipeError && reason.test(error.message),
      text,
    );
  assert.throws(
    () => parseFarRecipe('tail url :1 or url :2'.split(' ')),
    /a part on another machine has one tail/,
  );
});

test('options about several tails are a fault of the command line without several tails', () => {
  const refused: [string, CreateOptions, RegExp][] = [
    ['url :1 tail url :2', { ...DEFAULT_OPTIONS, check: 5 }, /^--check is for a link with several tails, /],
    ['url :1 tail url :2', { ...DEFAULT_OPTIONS, balance: 'first' }, /^--balance "first" is for a link with/],
    [
      'url unix:///a tail url :2 or url :3',
      { ...DEFAULT_OPTIONS, balance: 'source' },
      /clients of \/a have no address/,
    ],
  ];
  for (const [text, options, reason] of refused)
    assert.throws(
      () => checkBalanceOptions(words(text), options),
      (error: Error) => error instanceof RecipeError && reason.test(error.message),
      text,
    );
});

test('each tail has a name that stays when another one goes', () => {
  const namesOf = (text: string) => link(text).tails?.map(({ name }) => name);
  assert.equal(
    namesOf(
      'url :80 tail docker-ns a or url 10.0.0.7:8080 or url [::1]:9 or remote host.example tail url :1',
    ),
    ['a', '10.0.0.7-8080', '1-9', 'host.example'],
  );
  assert.equal(namesOf('url :80 tail docker-ns a or url b@:1 or docker-ns a'), ['a', 'b', 'a-2']);
  // No secret of docker-run is in the name of a unit.
  assert.equal(namesOf('url :80 tail docker-run nginx or docker-run nginx'), ['container', 'container-2']);
  assert.equal(namesOf('url :80 tail docker-ns run or docker-ns a-head'), ['run-1', 'a-head-1']);
});

test('each tail is a part with a forwarder of its own, which the front finds', () => {
  const parts = planLink({
    link: link('url :80 tail docker-ns a or trigger docker-run nginx weight 2 or remote m tail url :1'),
    options: { startTimeout: 60, pull: 'missing', balance: 'first', check: 5 },
    far: { partId: 'f'.repeat(32), keyFile: '/key', tails: { m: 'e'.repeat(32) } },
    drained: ['m'],
  });
  assert.equal(
    parts.map(({ id, parent, tailOf }) => [id, parent, tailOf]),
    [
      ['x', undefined, undefined],
      ['x-to-a', 'x', 'x'],
      ['x-to-container', 'x', 'x'],
      ['x-to-m', 'x', 'x'],
    ],
  );
  // What is on another machine has a handle of its own.
  assert.is(parts[1]?.far, undefined);
  assert.is(parts[3]?.far?.partId, 'e'.repeat(32));
  const files = new Map(
    parts.flatMap((part) => renderLink(part, renderer)).map(({ name, text }) => [name, text] as const),
  );
  const front = files.get('wormhole-x.service') ?? '';
  assert.match(front, /--balance first --tail "a \/run\/wormhole\/tails\/x-to-a 1 5"/);
  assert.match(front, /--tail "container \/run\/wormhole\/tails\/x-to-container 2 65 on-demand"/);
  assert.match(front, /--drained m /);
  assert.match(front, /^BindReadOnlyPaths=\/run\/wormhole\/hand-off\/x:\/run\/wormhole\/tails$/m);
  assert.match(front, /^IPAddressDeny=any$/m);
  assert.match(front, /^RestrictAddressFamilies=AF_UNIX$/m);
  assert.not.match(front, /NetworkNamespacePath|--to /);
  assert.match(files.get('wormhole-x-to-a.service') ?? '', /--hand-off once --dial-timeout 2 --check 5$/m);
  assert.match(files.get('wormhole-x-to-container.service') ?? '', /--dial-timeout 60 .*--hand-off retry$/m);
  assert.match(
    files.get('wormhole-x-to-a.socket') ?? '',
    /^ListenSequentialPacket=\/run\/wormhole\/hand-off\/x\/x-to-a$/m,
  );
  assert.match(files.get('wormhole-x.socket') ?? '', /^Wants=wormhole-x-to-a.socket$/m);
  // The front alone has the recipe, and from it come all parts again.
  const read = readLink(files.get('wormhole-x.socket') ?? '');
  assert.ok(read !== undefined && read !== 'child');
  assert.equal(planLink(read as Exclude<typeof read, 'child'>), parts);
  assert.is(readLink(files.get('wormhole-x-to-a.socket') ?? ''), 'child');
});

test('a tail that is drained changes the units as if they were written anew, and what somebody has edited stays', () => {
  const two = link('url :80 tail docker-ns a or docker-ns b');
  const textsOf = (drained: string[], more: Partial<CreateOptions> = {}) => {
    const plan = { link: two, options: { ...DEFAULT_OPTIONS, ...more } };
    const [front] = planLink({ ...plan, ...(drained.length > 0 && { drained }) });
    return renderLink(front as PlannedLink, renderer).map(({ text }) => text);
  };
  const each: Partial<CreateOptions>[] = [
    {},
    { check: 5 },
    { balance: 'first' },
    { keepAlive: 60 },
    { workers: 4 },
    { maxConnections: 1, maxPerSource: 1 },
    { rate: 1, idleTimeout: 1 },
    { proxyProtocol: 'v2' },
    { acceptProxyProtocol: ['10.0.0.0/8'] },
  ];
  for (const options of [...each, Object.assign({}, ...each)])
    for (const [former, next] of [
      [[], ['b']],
      [['b'], ['b', 'a']],
      [['b', 'a'], ['a']],
      [['a'], []],
    ] as [string[], string[]][])
      assert.equal(
        textsOf(former, options).map((text) => withDrained(text, next)),
        textsOf(next, options),
        `${former} to ${next} ${JSON.stringify(options)}`,
      );
  for (const text of textsOf([])) {
    const edited = text.replace('[Unit]', '[Unit]\n# mine');
    assert.is(isEdited(withDrained(edited, ['a'])), true);
    assert.match(withDrained(edited, ['a']), /# mine/);
  }
});

test.run();
