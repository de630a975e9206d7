import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RecipeError } from '../../src/recipe/error.ts';
import { formatRecipe } from '../../src/recipe/format.ts';
import { isKeyword, KEYWORDS } from '../../src/recipe/keywords.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import type { Protocol, Recipe, RecipeChild, RecipeEnd, RecipePlace } from '../../src/recipe/recipe.ts';
import { parseRun } from '../../src/recipe/run.ts';
import { recipeFromText, recipeText } from '../../src/recipe/text.ts';

const PROTOCOLS: Protocol[] = ['tcp', 'udp'];
const notKeyword = (text: string) => !isKeyword(text);

/** Any text that may stand in a recipe, with much of what quoting has to survive. */
const texts = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom(...`'"\\$\`% ;#ab`),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
    ),
  })
  .filter((text) => !/[\p{Cc}\p{Cs}]/u.test(text));

const containers = fc.oneof(
  fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}$/),
  fc.constantFrom(...KEYWORDS),
);
const netnsNames = texts.filter((name) => !/^\.?\.?$|\//.test(name) && Buffer.byteLength(name) <= 255);
const images = fc.constantFrom('nginx', 'a/b:1', "sh -c 'exit'", '"ab"', "-e A=\\\"b 'c'", 'x tail');
const runs = fc
  .oneof(
    images,
    fc.tuple(images, texts).map(([image, text]) => `${image} ${JSON.stringify(text)}`),
  )
  .filter(notKeyword);
const hosts = fc.constantFrom(
  '127.0.0.1',
  '10.0.0.1',
  '0.0.0.0',
  '255.255.255.255',
  '::',
  '::1',
  'fe80::1',
  '2001:db8::1:0:0:1',
  '::ffff:192.0.2.1',
);
const ports = fc.integer({ min: 1, max: 65535 });
const ids = fc
  .stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/)
  .filter((id) => notKeyword(id) && !/(\.socket|\.service|-run|-head|^sync)$/.test(id));
const peers = fc.oneof(
  hosts,
  fc
    .stringMatching(/^[a-z0-9]([a-zA-Z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,3}$/)
    .filter((peer) => notKeyword(peer) && /[a-z-][^.]*$/i.test(peer)),
);

type Gen = fc.GeneratorValue;

function somePlace(gen: Gen): RecipePlace {
  const kind = gen(fc.constantFrom, 'host', 'netns', 'container', 'run');
  if (kind === 'netns') return { kind, name: gen(() => netnsNames) };
  if (kind === 'container') return { kind, name: gen(() => containers) };
  if (kind === 'run') return parseRun({ text: gen(() => runs), position: 0 });
  return { kind: 'host' };
}

/** An end with a port, unless there is none to inherit. */
function someEnd(gen: Gen, protocol: Protocol, inherited: number | undefined): RecipeEnd {
  const end: RecipeEnd = { protocol, place: somePlace(gen), host: gen(() => hosts) };
  if (inherited !== undefined || gen(fc.boolean)) end.port = gen(() => ports);
  return end;
}

function someFarHead(gen: Gen, protocol: Protocol): RecipeEnd {
  const end: RecipeEnd = { protocol, place: somePlace(gen) };
  if (gen(fc.boolean)) end.host = gen(() => hosts);
  if (gen(fc.boolean)) end.port = gen(() => ports);
  return end;
}

/** A link below `head`, whose tail takes `tailPort` when it has none. `chance` is how likely a child is, of 10. */
function someLink(gen: Gen, head: RecipeEnd, tailPort: number | undefined, chance: number): Recipe {
  const link: Recipe = { head, trigger: gen(fc.boolean) };
  if (gen(fc.boolean)) link.id = gen(() => ids);
  if (gen(fc.boolean)) link.idle = gen(fc.integer, { min: 1, max: 365 * 24 * 3600 });
  if (gen(fc.integer, { min: 0, max: 9 }) >= chance) {
    link.tail = someEnd(gen, head.protocol, tailPort);
    return link;
  }
  link.child = someChild(gen, link, tailPort, chance - 1);
  return link;
}

function someChild(gen: Gen, link: Recipe, tailPort: number | undefined, chance: number): RecipeChild {
  const { head } = link;
  const kind = gen(fc.constantFrom, 'child', 'chain', 'remote', 'tunnel', 'udptunnel');
  if (kind === 'child') {
    const tail = someEnd(gen, head.protocol, tailPort);
    link.tail = tail;
    const childHead = someEnd(gen, gen(fc.constantFrom, ...PROTOCOLS) as Protocol, tail.port);
    if (gen(fc.boolean)) childHead.place = { ...tail.place };
    return { kind, link: someLink(gen, childHead, childHead.port, chance) };
  }
  if (kind === 'chain') {
    const childHead = someEnd(gen, head.protocol, tailPort);
    return { kind, link: someLink(gen, childHead, childHead.port, chance) };
  }
  const far = someFarHead(gen, head.protocol);
  const peer = gen(() => peers);
  return { kind, peer, link: someLink(gen, far, head.port ?? tailPort, chance) } as RecipeChild;
}

const links = fc.gen().map((gen) => {
  const head = someEnd(gen, gen(fc.constantFrom, ...PROTOCOLS) as Protocol, undefined);
  return someLink(gen, head, head.port, 9);
});

/** Whether an error is the one fault that a generated tree may have. */
function loops(error: unknown): boolean {
  return error instanceof RecipeError && error.message.includes('cannot proxy to self');
}

test('the canonical words of any link are read as the same link', () => {
  let children = 0;
  fc.assert(
    fc.property(links, (link) => {
      try {
        assert.equal(parseRecipe(formatRecipe(link)), link);
      } catch (error) {
        fc.pre(!loops(error));
        throw error;
      }
      assert.equal(formatRecipe(parseRecipe(formatRecipe(link))), formatRecipe(link));
      assert.equal(recipeFromText(recipeText(link)), link);
      if (link.child?.link.child) children++;
    }),
    { numRuns: 2000 },
  );
  assert.ok(children > 100, `only ${children} grandchildren`);
});

/** Pieces of recipes: most of them right by themselves, some words that are wrong wherever they stand. */
const pieces = fc.oneof(
  { weight: 8, arbitrary: ports.map((port) => ['url', `:${port}`]) },
  { weight: 4, arbitrary: containers.map((name) => ['docker-ns', name]) },
  { weight: 8, arbitrary: fc.constantFrom(['tail'], ['trigger'], ['child'], ['chain'], ['docker-ns']) },
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom('remote', 'tunnel', 'udptunnel'), peers) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom('docker-run', 'id', 'idle', 'url'), texts) },
  { weight: 1, arbitrary: fc.constantFrom(['url'], ['id'], ['remote'], ['mysql'], ['--help'], ['']) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary' }).map((text) => [text]) },
);
const someWords = fc.array(pieces, { maxLength: 8 }).map((words) => words.flat());

test('whatever the words, there is a link that survives the round trip, or an error that points at one of them', () => {
  let read = 0;
  fc.assert(
    fc.property(someWords, (words) => {
      let link: Recipe;
      try {
        link = parseRecipe(words);
      } catch (error) {
        assert.instance(error, RecipeError);
        const { position, word, message } = error as RecipeError;
        assert.not.match(message, /[\p{Cc}\p{Zl}\p{Zp}]/u);
        assert.is(word, words[position - 1] ?? '');
        assert.ok(words.length === 0 ? position === 0 : position >= 1 && position <= words.length);
        return;
      }
      read++;
      assert.equal(parseRecipe(formatRecipe(link)), link);
      assert.equal(recipeFromText(recipeText(link)), link);
    }),
    { numRuns: 20000 },
  );
  assert.ok(read > 100, `only ${read} recipes`);
});

test('whatever the text, there is a link or a RecipeError', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.throws(
        () => recipeFromText(text),
        (error: unknown) => error instanceof RecipeError,
      );
    }),
    { numRuns: 2000 },
  );
});

test('a recipe of very many words is read, written and refused like any other', () => {
  const words = ['url', ':80', ...Array.from({ length: 20000 }, () => ['remote', 'm']).flat()];
  assert.throws(
    () => parseRecipe(words),
    (error: unknown) => error instanceof RecipeError,
  );
  assert.is(formatRecipe(parseRecipe([...words, 'tail'])).length, words.length + 3);
});

test.run();
