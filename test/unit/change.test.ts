import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import { recipeFromText } from '../../src/recipe/text.ts';
import { planChange } from '../../src/units/change.ts';
import { type CreateOptions, DEFAULT_OPTIONS, planLink } from '../../src/units/plan.ts';
import { renderLink } from '../../src/units/render.ts';
import { renderer } from './renderer.ts';

const version = (recipe: string, options: Partial<CreateOptions> = {}) => {
  const parts = planLink({
    link: asLink(recipeFromText(recipe)),
    options: { ...DEFAULT_OPTIONS, ...options },
  });
  return { parts, files: parts.flatMap((part) => renderLink(part, renderer)) };
};

const change = (former: string, next: string, options?: Partial<CreateOptions>) => {
  const { runs, ...rest } = planChange(version(former), version(next, options));
  return { ...rest, runs: runs.map(({ name }) => name) };
};

const plain = 'id a url :80 tail url :81';
const nothing = { isEmpty: false, close: [], runs: [], restart: [], gone: [], added: [] };

test('nothing', () => {
  assert.equal(change(plain, plain), { ...nothing, isEmpty: true });
});

test('another tail restarts the forwarder, and closes nothing', () => {
  const restart = ['wormhole-a.service'];
  assert.equal(change(plain, 'id a url :80 tail url :82'), { ...nothing, restart });
  assert.equal(change(plain, 'id a url :80 tail docker-ns db'), { ...nothing, restart });
  assert.equal(change(plain, 'id a idle 5m url :80 tail url :81'), { ...nothing, restart });
});

test('another head closes the socket: its port, its place, a second listener, the mode of its path', () => {
  for (const head of ['url :83', 'url :80 docker-ns app', 'url udp://:80 url tcp://'])
    assert.equal(change(plain, `id a ${head} tail url :81`).close, ['a'], head);
  const path = 'id a url unix:///run/a.sock tail url tcp://:81';
  assert.equal(change(path, path, { socketMode: '660' }).close, ['a']);
  assert.equal(change(path, path, { startTimeout: 5 }).close, []);
});

test('a container stays with the same arguments, and is replaced with others', () => {
  const run = 'id a url :80 trigger url :81 docker-run image';
  assert.equal(change(run, 'id a url :85 idle 1m trigger url :82 docker-run image').runs, []);
  assert.equal(change(run, 'id a url :80 trigger url :81 docker-run other').runs, ['a']);
  const away = change(run, plain);
  assert.equal([away.runs, away.gone, away.close], [['a'], ['wormhole-a-run.service'], []]);
  assert.equal(change(plain, run).added, ['wormhole-a-run.service']);
});

test('the forwarder of a tail that is added is not there to be restarted', () => {
  const { restart, added } = change(
    'id a url :80 tail url :81 or url :82',
    'id a url :80 tail url :81 or url :83',
  );
  assert.equal(restart, ['wormhole-a.service']);
  assert.equal(added, ['wormhole-a-to-127.0.0.1-83.socket', 'wormhole-a-to-127.0.0.1-83.service']);
});

test('a head in a container that is replaced is closed with it', () => {
  const child = (image: string) =>
    `id a url :80 trigger url :81 docker-run ${image} child id b url :82 tail url :83`;
  assert.equal(change(child('one'), child('two')).close, ['b']);
  const gone = change(child('one'), 'id a url :80 trigger url :81 docker-run one');
  assert.equal([gone.close, gone.gone, gone.runs], [['b'], ['wormhole-b.socket', 'wormhole-b.service'], []]);
});

test.run();
