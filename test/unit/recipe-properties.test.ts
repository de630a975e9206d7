import { posix } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { portOf } from '../../src/recipe/defaults.ts';
import { RecipeError } from '../../src/recipe/error.ts';
import { formatRecipe } from '../../src/recipe/format.ts';
import { isKeyword, KEYWORDS } from '../../src/recipe/keywords.ts';
import { RESERVED_ENDINGS, RESERVED_IDS } from '../../src/recipe/names.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { ipProtocolFor, ipProtocolsFor, tailsOf } from '../../src/recipe/protocols.ts';
import {
  type IpProtocol,
  isFar,
  isPath,
  isUnix,
  type Protocol,
  type Recipe,
  type RecipeAddress,
  type RecipeChild,
  type RecipeEnd,
  type RecipeIpAddress,
  type RecipePlace,
  type RecipeTail,
  splitEnd,
  type UnixProtocol,
} from '../../src/recipe/recipe.ts';
import { parseRun } from '../../src/recipe/run.ts';
import { nameTails, tailId } from '../../src/recipe/tails.ts';
import { recipeFromText, recipeText } from '../../src/recipe/text.ts';
import { idOfUnit, serviceUnit } from '../../src/units/names.ts';

type IpEnd = Extract<RecipeEnd, { protocol: IpProtocol }>;

const PROTOCOLS: Protocol[] = ['tcp', 'udp', 'unix', 'unixgram', 'unixpacket'];
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
// A url without a protocol that began with a dash would be an option.
const netnsNames = texts.filter((name) => !/^-|^\.?\.?$|\//.test(name) && Buffer.byteLength(name) <= 255);
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
const names = fc.constantFrom(
  'db',
  'db.example.com',
  'db.example.com.',
  'my_db',
  'xn--bcher-kva.example',
  'tail',
);
const ports = fc.integer({ min: 1, max: 65535 });
const ids = fc
  .stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/)
  .filter((id) => notKeyword(id) && !RESERVED_IDS.includes(id))
  .filter((id) => !RESERVED_ENDINGS.some((ending) => id.endsWith(ending)));
/** Names of services, with and without an instance, such as `a\\x2db@c@d.service`. */
const services = fc
  .stringMatching(/^[a-zA-Z0-9:_\\-][a-zA-Z0-9:_.\\-]{0,20}(@[a-zA-Z0-9:_.\\@-]{1,20})?$/)
  .map((name) => `${name}.service`)
  .filter((name) => !/^(-|wormholed?[-.@])/.test(name));
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

/** Paths and abstract names, at most 107 bytes. */
const paths = texts
  .map((text) => `/run/${text}`)
  .filter((path) => path === posix.normalize(path) && !/[/\s\\]$/.test(path));
const abstractNames = texts.filter((name) => !/[@/\s\\]|^$/.test(name)).map((name) => `@${name}`);
const isShort = (path: string) => Buffer.byteLength(path) <= 107;

function someUnix(gen: Gen, protocol: UnixProtocol): RecipeEnd {
  if (gen(fc.boolean)) return { protocol, place: { kind: 'host' }, path: gen(() => paths.filter(isShort)) };
  return { protocol, place: somePlace(gen), path: gen(() => abstractNames.filter(isShort)) };
}

/** An end of one address, which has a port unless there is one to inherit. */
function someEnd(gen: Gen, protocol: Protocol, inherited: number | undefined): RecipeEnd {
  if (protocol !== 'tcp' && protocol !== 'udp') return someUnix(gen, protocol);
  const end: IpEnd = { protocol, place: somePlace(gen), host: gen(() => hosts) };
  if (inherited !== undefined || gen(fc.boolean)) end.port = gen(() => ports);
  return end;
}

/** A tail for a head, which has a port of its own unless one will be chosen for it. */
function someTail(gen: Gen, head: RecipeEnd, { port: known, exists }: Inherited): RecipeEnd {
  const [first, ...others] = splitEnd(head).map(({ protocol }) => protocol);
  const common = tailsOf(first as Protocol).filter((tail) =>
    others.every((other) => tailsOf(other).includes(tail)),
  );
  if (common.length > 0) {
    const tail = someEnd(gen, gen(fc.constantFrom, ...common) as Protocol, known);
    if (!isUnix(tail) && !exists) tail.port ??= gen(() => ports);
    return tail;
  }
  const host = gen(() => hosts);
  const port = gen(() => ports);
  const [protocol = 'tcp', ...further] = ipProtocolsFor(splitEnd(head));
  return {
    ...{ protocol, place: somePlace(gen), host, port },
    also: further.map((also) => ({ protocol: also, host, port })),
  };
}

/** A tail, with a name instead of its address now and then. */
function someName(gen: Gen, tail: RecipeEnd): RecipeEnd {
  if (isUnix(tail) || gen(fc.boolean)) return tail;
  const host = gen(() => names);
  const also = tail.also?.map((address) => (isUnix(address) ? address : { ...address, host }));
  return { ...tail, host, ...(also && { also }) };
}

/** A tail, served by a service of systemd's now and then. */
function someService(gen: Gen, tail: RecipeEnd): RecipeEnd {
  if (tail.place.kind !== 'host' || gen(fc.boolean)) return tail;
  return { ...tail, place: { kind: 'host', unit: gen(() => services) } };
}

/** A head, with further listeners by other protocols now and then. */
function someHead(gen: Gen, inherited: number | undefined): RecipeEnd {
  const head = someEnd(gen, gen(fc.constantFrom, ...PROTOCOLS) as Protocol, inherited);
  if (head.protocol === 'unixgram' || head.protocol === 'unixpacket' || gen(fc.boolean)) return head;
  const also = (['tcp', 'udp', 'unix'] as const)
    .filter((protocol) => protocol !== head.protocol && gen(fc.boolean))
    .map((protocol): RecipeAddress => {
      if (protocol === 'unix')
        return {
          protocol,
          path: gen(() => (head.place.kind === 'host' ? paths : abstractNames).filter(isShort)),
        };
      return { protocol, host: gen(() => hosts), port: gen(() => ports) };
    });
  const hasPath = [head, ...also].some(isPath);
  return also.length === 0 || (hasPath && head.place.kind !== 'host') ? head : { ...head, also };
}

function someFarHead(gen: Gen, head: RecipeEnd): RecipeEnd {
  const [protocol = 'tcp', ...further] = ipProtocolsFor(splitEnd(head));
  const address: Omit<RecipeIpAddress, 'protocol'> = {};
  if (gen(fc.boolean)) address.host = gen(() => hosts);
  if (gen(fc.boolean)) address.port = gen(() => ports);
  const end: RecipeEnd = { protocol, place: somePlace(gen), ...address };
  if (further.length > 0) end.also = further.map((also) => ({ protocol: also, ...address }));
  return end;
}

/** The port that a tail takes over if it says none; whether it can say none: one is known, or will be chosen. */
interface Inherited {
  port: number | undefined;
  exists: boolean;
}

/** What the tail of a link on the same machine takes over from its head. */
const fromHead = (head: RecipeEnd): Inherited => ({
  port: portOf(head),
  exists: !splitEnd(head).every(isUnix),
});

/** A link below `head`. `chance` is how likely a child is, of 10. */
function someLink(gen: Gen, head: RecipeEnd, inherited: Inherited, chance: number): Recipe {
  const link: Recipe = { head, trigger: gen(fc.boolean) };
  if (gen(fc.boolean)) link.id = gen(() => ids);
  if (gen(fc.boolean)) link.idle = gen(fc.integer, { min: 1, max: 365 * 24 * 3600 });
  if (gen(fc.integer, { min: 0, max: 9 }) >= chance) {
    link.tail = someService(gen, someName(gen, someTail(gen, head, inherited)));
    return link;
  }
  link.child = someChild(gen, link, inherited, chance - 1);
  return link;
}

function someChild(gen: Gen, link: Recipe, inherited: Inherited, chance: number): RecipeChild {
  const { head } = link;
  const onlyHere = splitEnd(head).some(({ protocol }) => ipProtocolFor(protocol) === undefined);
  const kinds = onlyHere ? ['child', 'chain'] : ['child', 'chain', 'remote', 'tunnel', 'udptunnel'];
  const kind = gen(fc.constantFrom, ...kinds);
  if (kind === 'child') {
    const tail = someService(gen, someName(gen, someTail(gen, head, inherited)));
    link.tail = tail;
    const childHead = someHead(gen, portOf(tail));
    // The service is the tail's, and not that of the child whose head is beside it.
    const place: RecipePlace = tail.place.kind === 'host' ? { kind: 'host' } : { ...tail.place };
    const inPlace = { ...childHead, place };
    const used = gen(fc.boolean) && !splitEnd(childHead).some(isPath) ? inPlace : childHead;
    return { kind, link: someLink(gen, used, fromHead(used), chance) };
  }
  if (kind === 'chain') {
    const childHead = someTail(gen, head, inherited);
    return { kind, link: someLink(gen, childHead, fromHead(childHead), chance) };
  }
  const far = someFarHead(gen, head);
  const peer = gen(() => peers);
  const port = portOf(head) ?? inherited.port;
  const taken = { port, exists: port !== undefined || inherited.exists };
  return { kind, peer, link: someLink(gen, far, taken, chance) } as RecipeChild;
}

const links = fc.gen().map((gen) => {
  const head = someHead(gen, undefined);
  return someLink(gen, head, fromHead(head), 9);
});

/** A link with several tails, some of them on other machines. */
const linksWithTails = fc.gen().map((gen): Recipe => {
  const head = someEnd(gen, gen(fc.constantFrom, 'tcp', 'unix') as Protocol, undefined);
  const inherited = fromHead(head);
  const tails = Array.from({ length: gen(fc.integer, { min: 2, max: 4 }) }, (): RecipeTail => {
    const { tail, child, trigger } = someLink(gen, head, inherited, gen(fc.constantFrom, 0, 3));
    const weight = gen(fc.boolean) ? { weight: gen(fc.integer, { min: 2, max: 256 }) } : {};
    if (child && isFar(child)) return { trigger, child, ...weight };
    return { trigger, tail: tail ?? someTail(gen, head, inherited), ...weight };
  });
  const { id, idle } = someLink(gen, head, inherited, 0);
  return {
    ...(id !== undefined && { id }),
    ...(idle !== undefined && { idle }),
    head,
    trigger: false,
    tails,
  };
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

test('the canonical words of any link with several tails are read as the same link, and its parts have names of their own', () => {
  let far = 0;
  fc.assert(
    fc.property(linksWithTails, (link) => {
      try {
        assert.equal(parseRecipe(formatRecipe(link)), link);
      } catch (error) {
        fc.pre(!loops(error));
        throw error;
      }
      assert.equal(recipeFromText(recipeText(link)), link);
      const names = nameTails(link.tails ?? []);
      assert.is(new Set(names).size, link.tails?.length);
      // A host may be called like a unit of another kind.
      for (const name of names) assert.is(idOfUnit(serviceUnit(tailId('x', name))), `x-to-${name}`);
      if (link.tails?.some(({ child }) => child)) far++;
    }),
    { numRuns: 2000 },
  );
  assert.ok(far > 100, `only ${far} with a part on another machine`);
});

/** Pieces of recipes: most of them right by themselves, some words that are wrong wherever they stand. */
const pieces = fc.oneof(
  { weight: 8, arbitrary: ports.map((port) => ['url', `:${port}`]) },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom('udp://:53', 'udp://', 'tcp://', 'unix:///run/x', 'unix://@x')
      .map((url) => ['url', url]),
  },
  { weight: 4, arbitrary: containers.map((name) => ['docker-ns', name]) },
  {
    weight: 8,
    arbitrary: fc.constantFrom(['tail'], ['trigger'], ['child'], ['chain'], ['docker-ns'], ['or']),
  },
  { weight: 3, arbitrary: fc.oneof(services, texts).map((name) => ['unit', name]) },
  { weight: 2, arbitrary: fc.constantFrom(['weight', '2'], ['weight', '0'], ['weight']) },
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
