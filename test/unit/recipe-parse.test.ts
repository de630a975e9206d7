import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseRunArguments } from '../../src/docker-run/arguments.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import type {
  IpProtocol,
  Recipe,
  RecipeAddress,
  RecipeChild,
  RecipeEnd,
  RecipePlace,
  UnixProtocol,
} from '../../src/recipe/recipe.ts';
import { recipeFromText } from '../../src/recipe/text.ts';

const HOST: RecipePlace = { kind: 'host' };
const container = (name: string): RecipePlace => ({ kind: 'container', name });
const run = (args: string): RecipePlace => ({ kind: 'run', args, request: parseRunArguments(args) });
const netns = (name: string): RecipePlace => ({ kind: 'netns', name });

type IpEnd = Extract<RecipeEnd, { protocol: IpProtocol }>;

/** An end on 127.0.0.1. */
function at(port?: number, place: RecipePlace = HOST, protocol: IpProtocol = 'tcp'): IpEnd {
  return { protocol, place, host: '127.0.0.1', ...(port === undefined ? {} : { port }) };
}

/** An end that is a unix socket. */
function unix(path: string, place: RecipePlace = HOST, protocol: UnixProtocol = 'unix'): RecipeEnd {
  return { protocol, place, path };
}

/** An end with further addresses. */
function and(end: RecipeEnd, ...also: RecipeAddress[]): RecipeEnd {
  return { ...end, also };
}

/** Those at 127.0.0.1. */
function local(protocol: IpProtocol, port?: number): RecipeAddress {
  return { protocol, host: '127.0.0.1', ...(port === undefined ? {} : { port }) };
}

function link(head: RecipeEnd, tail: RecipeEnd, rest: Partial<Recipe> = {}): Recipe {
  return { head, trigger: false, tail, ...rest };
}

function leading(head: RecipeEnd, child: RecipeChild, rest: Partial<Recipe> = {}): Recipe {
  return { head, trigger: false, child, ...rest };
}

/** A far head of which nothing is said. */
const FAR: IpEnd = { protocol: 'tcp', place: HOST };

const recipes: Record<string, Recipe> = {
  // Names of hosts.
  'url :5432 tail url DB.Example.com:5432': link(at(5432), { ...at(5432), host: 'db.example.com' }),
  'url :5432 tail url db.example.com.': link(at(5432), { ...at(5432), host: 'db.example.com.' }),
  'url udp://:514 tail url udp://my_log docker-ns app': link(at(514, HOST, 'udp'), {
    ...at(514, container('app'), 'udp'),
    host: 'my_log',
  }),
  'url :80 tail url blue@web.internal:8080': link(at(80), {
    ...at(8080, netns('blue')),
    host: 'web.internal',
  }),
  'url :80 tail url app.localhost:81': link(at(80), at(81)),
  'url :80 tail url db:81 child url :82 tail url :83': link(
    at(80),
    { ...at(81), host: 'db' },
    { child: { kind: 'child', link: link(at(82), at(83)) } },
  ),
  // The command lines that have to work to the letter.
  'url :3306 docker-ns tail docker-ns mysql': link(at(3306), at(3306, container('mysql'))),
  'url :3306 docker-ns app tail docker-ns mysql': link(
    at(3306, container('app')),
    at(3306, container('mysql')),
  ),
  'url :80 trigger docker-run wormhole/wordpress child url :3306 trigger docker-run wormhole/mysql': link(
    at(80),
    at(80, run('wormhole/wordpress')),
    {
      trigger: true,
      child: {
        kind: 'child',
        link: link(at(3306, run('wormhole/wordpress')), at(3306, run('wormhole/mysql')), { trigger: true }),
      },
    },
  ),
  'url :3306 remote myserver tail docker-ns mysql': leading(at(3306), {
    kind: 'remote',
    peer: 'myserver',
    link: link(FAR, at(3306, container('mysql'))),
  }),
  'url :3306 remote myserver tail url :3306 docker-ns mysql': leading(at(3306), {
    kind: 'remote',
    peer: 'myserver',
    link: link(FAR, at(3306, container('mysql'))),
  }),
  'url :3306 tunnel myserver trigger url :3306 docker-ns mysql': leading(at(3306), {
    kind: 'tunnel',
    peer: 'myserver',
    link: link(FAR, at(3306, container('mysql')), { trigger: true }),
  }),
  'url :3306 trigger tunnel myserver trigger url :3306 docker-run wormhole/mysql': leading(
    at(3306),
    {
      kind: 'tunnel',
      peer: 'myserver',
      link: link(FAR, at(3306, run('wormhole/mysql')), { trigger: true }),
    },
    { trigger: true },
  ),
  'url :80 trigger docker-run wormhole/wordpress child url :3306 tunnel myserver trigger url :3306 docker-run wormhole/mysql':
    link(at(80), at(80, run('wormhole/wordpress')), {
      trigger: true,
      child: {
        kind: 'child',
        link: leading(at(3306, run('wormhole/wordpress')), {
          kind: 'tunnel',
          peer: 'myserver',
          link: link(FAR, at(3306, run('wormhole/mysql')), { trigger: true }),
        }),
      },
    }),
  'url :9000 chain url :9001 tail url :9002': leading(at(9000), {
    kind: 'chain',
    link: link(at(9001), at(9002)),
  }),

  // Ends: what is said, and what is filled in.
  'tail docker-ns mysql': link(at(), at(undefined, container('mysql'))),
  'url 10.0.0.1 tail url :80': link({ ...at(), host: '10.0.0.1' }, at(80)),
  'docker-ns app url :80 tail': link(at(80, container('app')), at(80)),
  'docker-ns app url :80 tail docker-ns': link(at(80, container('app')), at(80)),
  'url :80 docker-ns /app tail docker-ns /tail': link(at(80, container('app')), at(80, container('tail'))),
  'url udp://:53 tail docker-ns dns': link(at(53, HOST, 'udp'), at(53, container('dns'), 'udp')),
  'url tcp://blue@10.0.0.1:80 tail url red@': link(
    { ...at(80, netns('blue')), host: '10.0.0.1' },
    at(80, netns('red')),
  ),
  'url a@b@:80 tail': link(at(80, netns('a@b')), at(80)),
  'url udp:// url blue@ url [::1] url :53 tail': link(
    { protocol: 'udp', place: netns('blue'), host: '::1', port: 53 },
    at(53, HOST, 'udp'),
  ),
  'url localhost:80 tail url :81': link(at(80), at(81)),
  'url [2001:DB8:0:0::0:0001]:1 tail url [::FFFF:192.0.2.1]:65535': link(
    { ...at(1), host: '2001:db8::1' },
    { ...at(65535), host: '::ffff:192.0.2.1' },
  ),
  'url :80 docker-run "-e A=\'b c\' nginx" tail docker-run nginx': link(
    at(80, run("-e A='b c' nginx")),
    at(80, run('nginx')),
  ),

  // The id may stand anywhere among the words of its link.
  'id web url :80 tail url :81': link(at(80), at(81), { id: 'web' }),
  'url :80 id web tail url :81': link(at(80), at(81), { id: 'web' }),
  'url :80 tail url :81 id 80-web_1.x': link(at(80), at(81), { id: '80-web_1.x' }),
  'url :80 id a remote m id b tail': leading(
    at(80),
    { kind: 'remote', peer: 'm', link: link(FAR, at(80), { id: 'b' }) },
    { id: 'a' },
  ),

  // A local child starts as the current tail, and keeps what it does not say anew.
  'url :80 tail docker-ns app child url :81 tail docker-ns db': link(at(80), at(80, container('app')), {
    child: { kind: 'child', link: link(at(81, container('app')), at(81, container('db'))) },
  }),
  'url :80 tail docker-ns app child url :81 docker-ns tail docker-ns db': link(
    at(80),
    at(80, container('app')),
    {
      child: { kind: 'child', link: link(at(81), at(81, container('db'))) },
    },
  ),
  'url :80 trigger docker-ns app url :81 chain tail docker-ns db': leading(
    at(80),
    { kind: 'chain', link: link(at(81, container('app')), at(81, container('db'))) },
    { trigger: true },
  ),
  'url :80 docker-ns app chain tail docker-ns db': leading(at(80, container('app')), {
    kind: 'chain',
    link: link(at(80), at(80, container('db'))),
  }),
  'url :80 tail docker-ns app child url udp://:53 tail': link(at(80), at(80, container('app')), {
    child: { kind: 'child', link: link(at(53, container('app'), 'udp'), at(53, HOST, 'udp')) },
  }),

  // A far tail's port is that of the nearest head on the way to it, its own link's head not counted.
  'url :80 tail remote m tail': leading(at(80), { kind: 'remote', peer: 'm', link: link(FAR, at(80)) }),
  'url :3306 remote m url :13306 tail docker-ns db': leading(at(3306), {
    kind: 'remote',
    peer: 'm',
    link: link({ ...FAR, port: 13306 }, at(3306, container('db'))),
  }),
  'url :3306 udptunnel [2001:DB8::1] url 10.0.0.2 docker-ns app tail': leading(at(3306), {
    kind: 'udptunnel',
    peer: '2001:db8::1',
    link: link({ ...FAR, host: '10.0.0.2', place: container('app') }, at(3306)),
  }),
  'url udp://:53 remote m tail': leading(at(53, HOST, 'udp'), {
    kind: 'remote',
    peer: 'm',
    link: link({ ...FAR, protocol: 'udp' }, at(53, HOST, 'udp')),
  }),
  'docker-ns app remote m url :13306 tail': leading(at(undefined, container('app')), {
    kind: 'remote',
    peer: 'm',
    link: link({ ...FAR, port: 13306 }, at()),
  }),
  'url :3306 remote a remote b tail': leading(at(3306), {
    kind: 'remote',
    peer: 'a',
    link: leading(FAR, { kind: 'remote', peer: 'b', link: link(FAR, at(3306)) }),
  }),
  'url :3306 remote a url :4000 remote b url :5000 tail': leading(at(3306), {
    kind: 'remote',
    peer: 'a',
    link: leading(
      { ...FAR, port: 4000 },
      {
        kind: 'remote',
        peer: 'b',
        link: link({ ...FAR, port: 5000 }, at(4000)),
      },
    ),
  }),
  'url :80 remote a chain docker-ns app tail docker-ns db': leading(at(80), {
    kind: 'remote',
    peer: 'a',
    link: leading(FAR, { kind: 'chain', link: link(at(80, container('app')), at(80, container('db'))) }),
  }),
  'url :80 remote a url :81 chain url :82 remote b tail': leading(at(80), {
    kind: 'remote',
    peer: 'a',
    link: leading(
      { ...FAR, port: 81 },
      {
        kind: 'chain',
        link: leading(at(82), { kind: 'remote', peer: 'b', link: link(FAR, at(82)) }),
      },
    ),
  }),

  // Several listeners, which share place, id and tail.
  'url tcp://:53 url udp://:53 tail docker-ns dns': link(
    and(at(53), local('udp', 53)),
    and(at(53, container('dns')), local('udp', 53)),
  ),
  'url :53 url udp:// tail url :5353': link(and(at(53), local('udp', 53)), and(at(5353), local('udp', 5353))),
  'url udp://0.0.0.0:53 docker-ns a url tcp://:54 tail docker-ns dns': link(
    and(
      { ...at(53, container('a'), 'udp'), host: '0.0.0.0' },
      { protocol: 'tcp', host: '0.0.0.0', port: 54 },
    ),
    and(at(53, container('dns'), 'udp'), local('tcp', 53)),
  ),
  'url udp://blue@:53 url tcp://blue@ tail url red@:53': link(
    and(at(53, netns('blue'), 'udp'), local('tcp', 53)),
    and(at(53, netns('red'), 'udp'), local('tcp', 53)),
  ),
  'url 127.0.0.1 url udp:// tail docker-ns dns': link(
    and(at(), local('udp')),
    and(at(undefined, container('dns')), local('udp')),
  ),
  'url tcp://:3306 url unix:///run/mysql.sock tail url tcp://:3306 docker-ns db': link(
    and(at(3306), { protocol: 'unix', path: '/run/mysql.sock' }),
    at(3306, container('db')),
  ),
  'url unix:///run/x url tcp:// url udp://:5 tail url :7': link(
    and(unix('/run/x'), local('tcp'), local('udp', 5)),
    and(at(7), local('udp', 7)),
  ),
  'url :53 url udp:// chain url :54 tail url :55': leading(and(at(53), local('udp', 53)), {
    kind: 'chain',
    link: link(and(at(54), local('udp', 54)), and(at(55), local('udp', 55))),
  }),
  'url :53 url udp:// remote m tail': leading(and(at(53), local('udp', 53)), {
    kind: 'remote',
    peer: 'm',
    link: link(and(FAR, { protocol: 'udp' }), and(at(53), local('udp', 53))),
  }),
  'url :53 url udp:// remote m url 10.0.0.1 tail': leading(and(at(53), local('udp', 53)), {
    kind: 'remote',
    peer: 'm',
    link: link(
      and({ ...FAR, host: '10.0.0.1' }, { protocol: 'udp', host: '10.0.0.1' }),
      and(at(53), local('udp', 53)),
    ),
  }),

  // Unix sockets.
  'url unix:///run/mysql.sock tail url tcp://:3306 docker-ns db': link(
    unix('/run/mysql.sock'),
    at(3306, container('db')),
  ),
  'url :5432 docker-ns app tail url unix:///run/postgresql/.s.PGSQL.5432': link(
    at(5432, container('app')),
    unix('/run/postgresql/.s.PGSQL.5432'),
  ),
  'url unix:///a@b/c tail url unix://@x docker-ns db': link(unix('/a@b/c'), unix('@x', container('db'))),
  'url unix://blue@@x tail url unix://a@@@y': link(unix('@x', netns('blue')), unix('@y', netns('a@'))),
  'url unixgram:///run/log tail url unixgram://@log': link(
    unix('/run/log', HOST, 'unixgram'),
    unix('@log', HOST, 'unixgram'),
  ),
  'url unixpacket://@a tail url unixpacket:///run/b': link(
    unix('@a', HOST, 'unixpacket'),
    unix('/run/b', HOST, 'unixpacket'),
  ),
  'url udp://:514 tail url unixgram:///run/log': link(
    at(514, HOST, 'udp'),
    unix('/run/log', HOST, 'unixgram'),
  ),
  'url unix:///run/x remote m tail url :3306': leading(unix('/run/x'), {
    kind: 'remote',
    peer: 'm',
    link: link(FAR, at(3306)),
  }),
  'url :80 remote m tail url unix:///run/x': leading(at(80), {
    kind: 'remote',
    peer: 'm',
    link: link(FAR, unix('/run/x')),
  }),
  'url :80 chain url unix:///run/x tail url :81': leading(at(80), {
    kind: 'chain',
    link: link(unix('/run/x'), at(81)),
  }),
  'url :80 tail url unix:///run/x child url :81 tail url :82': link(at(80), unix('/run/x'), {
    child: { kind: 'child', link: link(at(81), at(82)) },
  }),

  // No way back to the head: these only look like it.
  'url unix://@x tail url unix://@x docker-ns app': link(unix('@x'), unix('@x', container('app'))),
  'url :80 tail url 10.0.0.1:80': link(at(80), { ...at(80), host: '10.0.0.1' }),
  'url 0.0.0.0:80 tail url 10.0.0.1:80': link(
    { ...at(80), host: '0.0.0.0' },
    { ...at(80), host: '10.0.0.1' },
  ),
  'url 0.0.0.0:80 tail url [::1]:80': link({ ...at(80), host: '0.0.0.0' }, { ...at(80), host: '::1' }),
  'url :80 docker-run nginx tail docker-run nginx': link(at(80, run('nginx')), at(80, run('nginx'))),
  'url :80 remote m url :80 tail': leading(at(80), {
    kind: 'remote',
    peer: 'm',
    link: link({ ...FAR, port: 80 }, at(80)),
  }),
  'url :80 tail url :81 child url udp:// tail url :80': link(at(80), at(81), {
    child: { kind: 'child', link: link(at(81, HOST, 'udp'), at(80, HOST, 'udp')) },
  }),
  'url :80 tail url :81 child url :82 tail url :80': link(at(80), at(81), {
    child: { kind: 'child', link: link(at(82), at(80)) },
  }),
};

for (const [text, expected] of Object.entries(recipes)) {
  test(text, () => assert.equal(recipeFromText(text), expected));
}

test('defaults of two ends are not shared', () => {
  const { tail, child } = parseRecipe(['tail', 'docker-ns', 'a', 'child', 'url', ':80', 'tail']);
  assert.is.not(child?.link.head, tail);
  assert.is.not(child?.link.head.place, tail?.place);
});

test.run();
