import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import type { Link } from '../../src/recipe/link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import {
  type CreateOptions,
  DEFAULT_OPTIONS,
  type LinkPlan,
  planLink,
  type RemoteBonds,
} from '../../src/units/plan.ts';
import { readLink, UnreadableLink } from '../../src/units/read.ts';
import { renderLink, type UnitFile } from '../../src/units/render.ts';
import { renderer } from './renderer.ts';

const render = (link: Link, options: CreateOptions = DEFAULT_OPTIONS): UnitFile[] =>
  planLink({ link, options }).flatMap((part) => renderLink(part, renderer));

const units = (...words: string[]): Record<string, string> =>
  Object.fromEntries(render(asLink(parseRecipe(words))).map(({ name, text }) => [name, text]));

/** The values of a setting, in the order of the file. */
const settings = (text: string | undefined, name: string): string[] =>
  [...(text ?? '').matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value as string);

const names = fc
  .stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,12}$/)
  .filter((name) => !/^(url|tail|id|idle)$/.test(name));
const odd = fc.string({ unit: fc.constantFrom(...`'"\\$\`% ;#=[]ab@-`), minLength: 1, maxLength: 12 });

const test = suite('unit files');

test('the link that is read back from them is the one that was written', () => {
  const recipes = fc.tuple(
    names,
    names,
    odd,
    odd,
    fc.integer({ min: 1, max: 9999 }),
    fc.constantFrom('never', 'always'),
  );
  fc.assert(
    fc.property(recipes, ([one, two, netns, word, port, pull]) => {
      fc.pre(!/^-|^\.+$/.test(netns));
      const end = (at: number, name: string) => ['url', `:${at}`, 'docker-ns', `/${name}`];
      const run = ['trigger', 'docker-run', `x ${JSON.stringify(word)}`];
      for (const words of [
        ['id', 'a', ...end(port, one), 'tail', ...end(port + 1, two)],
        ['id', 'a', 'url', `${netns}@:1`, 'chain', 'id', 'b', 'url', '[::1]:2', 'tail', 'url', `${netns}@:3`],
        ['id', 'a', 'idle', '90', 'url', ':1', ...run, 'child', 'id', 'b', 'url', ':2', ...run],
      ]) {
        const link = asLink(parseRecipe(words));
        const options = { startTimeout: port, pull } as CreateOptions;
        const [socket, ...others] = render(link, options);
        assert.equal(readLink(socket?.text ?? ''), { link, options });
        for (const { text } of others.filter(({ name }) => name.endsWith('.socket')))
          assert.is(readLink(text), 'child');
      }
    }),
  );
});

test('every line is a section, a setting, a comment or empty, whatever the recipe holds', () => {
  fc.assert(
    fc.property(odd, names, (text, name) => {
      fc.pre(!/^-|^\.+$/.test(text));
      const files = units(
        'id',
        'a',
        'url',
        `${text}@:1`,
        'trigger',
        'docker-run',
        `-e X=${JSON.stringify(text)} x ${name}`,
      );
      for (const line of Object.values(files).join('\n').split('\n')) {
        assert.match(line, /^$|^#|^\[[A-Za-z-]+\]$|^[A-Za-z0-9]+=/);
        assert.not.match(line, /\\$/, 'a backslash at the end would join it with the next line');
      }
    }),
  );
});

test('a head in a container is bound to its namespace and stays out of the ordering of sockets', () => {
  const { 'wormhole-a.socket': socket } = units(
    'id',
    'a',
    'url',
    ':1',
    'docker-ns',
    'x',
    'tail',
    'url',
    ':2',
  );
  assert.equal(settings(socket, 'BindsTo'), ['wormhole-netns@x.service']);
  assert.equal(settings(socket, 'NetworkNamespacePath'), ['/run/wormhole/netns/x']);
  assert.equal(settings(socket, 'DefaultDependencies'), ['no']);
  assert.equal(settings(socket, 'WantedBy'), ['multi-user.target']);
});

test('what limits starts stands where systemd reads it', () => {
  const files = units('id', 'a', 'url', ':1', 'trigger', 'docker-run', 'x');
  for (const name of ['wormhole-a.socket', 'wormhole-a.service', 'wormhole-a-run.service']) {
    const unit = (files[name] ?? '').split(/^\[S(?:ervice|ocket)\]$/m)[0];
    assert.equal(settings(unit, 'StartLimitIntervalSec'), ['0'], name);
  }
});

test('the order of a trigger: namespace, child socket, container, forwarder', () => {
  const files = units(
    ...'id a url :80 trigger docker-run web child id b url :81 trigger docker-run db'.split(' '),
  );
  assert.ok(settings(files['wormhole-b.socket'], 'After').includes('wormhole-netns@run:a.service'));
  assert.ok(settings(files['wormhole-a-run.service'], 'After').includes('wormhole-b.socket'));
  assert.ok(settings(files['wormhole-a.service'], 'After').includes('wormhole-a-run.service'));
  assert.equal(settings(files['wormhole-b.socket'], 'PartOf'), ['wormhole-a-run.service']);
  assert.not.ok(
    files['wormhole-b.socket']?.includes('[Install]'),
    'it is opened by the container, not at boot',
  );
});

test('without idle nothing is stopped for want of connections, with it what a trigger started is', () => {
  const recipe = 'url :80 trigger docker-run web';
  const stays = units('id', 'a', ...recipe.split(' '))['wormhole-a-run.service'] ?? '';
  const sleeps = units('id', 'a', 'idle', '30s', ...recipe.split(' '));
  assert.not.match(stays, /StopWhenUnneeded|ExecStop=/);
  assert.match(sleeps['wormhole-a-run.service'] ?? '', /^StopWhenUnneeded=yes$/m);
  assert.match(sleeps['wormhole-a.service'] ?? '', /^ExecStart=.* --idle 30 /m);
});

const KEY = '0123456789abcdef0123456789abcdef';
const far = { partId: KEY, keyFile: '/etc/wormhole/key.secret' };
const owner = { partId: KEY, id: '3306', machine: 'alpha', address: '10.0.0.1' };
const bound = (text: string, bonds: RemoteBonds): Record<string, string> =>
  Object.fromEntries(
    planLink({ link: asLink(parseRecipe(text.split(' '))), options: DEFAULT_OPTIONS, ...bonds })
      .flatMap((part) => renderLink(part, renderer))
      .map((unit) => [unit.name, unit.text]),
  );

test('a link to another machine reads where that is, and asks for help when nobody answers', () => {
  const recipe = 'id a url :1 trigger docker-ns x child id b url :2 remote m tail docker-ns y';
  const files = bound(recipe, { far });
  assert.match(
    files['wormhole-b.service'] ?? '',
    /^ExecStart=.* --to-file \/run\/wormhole\/link\/far --ask \/run\/wormhole-far\.sock --dial-timeout 60 --peer-timeout 30$/m,
  );
  assert.match(files['wormhole-b.service'] ?? '', /--place "machine m"/);
  assert.not.match(files['wormhole-b.service'] ?? '', /NetworkNamespacePath/);
  assert.match(files['wormhole-a.service'] ?? '', / --to 127\.0\.0\.1:1 /);
  assert.equal(readLink(files['wormhole-a.socket'] ?? ''), {
    link: asLink(parseRecipe(recipe.split(' '))),
    options: DEFAULT_OPTIONS,
    far,
  });
});

test('a link whose tail has a name has it looked up by a service of its own, in the namespace of the tail', () => {
  const files = bound('id a url :1 tail url DB.example.com:2 docker-ns y', {});
  assert.match(
    files['wormhole-a.service'] ?? '',
    /^ExecStart=.* --name db\.example\.com:2 --to-file \/run\/wormhole\/link\/name --ask \/run\/wormhole\/link\/ask$/m,
  );
  assert.match(files['wormhole-a.service'] ?? '', /^Wants=wormhole-names@a\.socket$/m);
  assert.equal(settings(files['wormhole-names@a.socket'], 'ListenStream'), ['/run/wormhole/links/a/ask']);
  const service = files['wormhole-names@a.service'] ?? '';
  assert.match(service, /^ExecStart=\S+ \S+ names --link a --name db\.example\.com --port 2$/m);
  assert.match(service, /^NetworkNamespacePath=\/run\/wormhole\/netns\/y$/m);
  assert.not.match(service, /\/etc\/hosts/, 'a container has its own');
  assert.match(
    service,
    /^BindReadOnlyPaths=-\/run\/wormhole\/resolvers\/[0-9a-f]{32}:\/run\/wormhole\/resolver$/m,
  );
  assert.is(readLink(service), undefined);
  const host = bound('id a url :1 tail url db:2', {})['wormhole-names@a.service'] ?? '';
  assert.match(host, /^BindReadOnlyPaths=-\/etc\/hosts$/m);
  assert.not.match(host, /NetworkNamespacePath|resolvers/);
});

test("the far part of another machine's link is for that machine alone", () => {
  const files = bound('id a url 10.0.0.2:61234 tail docker-ns x', { owner });
  assert.equal(settings(files['wormhole-a.socket'], 'IPAddressDeny'), ['any']);
  assert.equal(settings(files['wormhole-a.socket'], 'IPAddressAllow'), ['10.0.0.1']);
  assert.match(files['wormhole-a.service'] ?? '', /^ExecStart=.* --allow 10\.0\.0\.1 --peer-timeout 30$/m);
  assert.equal((readLink(files['wormhole-a.socket'] ?? '') as LinkPlan).owner, owner);
  assert.throws(
    () => readLink((files['wormhole-a.socket'] ?? '').replace(/^Allow=.*/m, '')),
    /Allow= is missing/,
  );
});

test('a part and a link belong to the machine that has asked for them', () => {
  const id = '5f0c1e9b2a7d4e68b3c1d0a9f8e7d6c5';
  const owned = bound('id a url 10.0.0.2:61234 tail docker-ns x', { owner: { ...owner, identity: id } });
  assert.equal((readLink(owned['wormhole-a.socket'] ?? '') as LinkPlan).owner, { ...owner, identity: id });
  const created = bound('id a url :80 chain id b url :81 tail docker-ns x', { creator: id });
  assert.is((readLink(created['wormhole-a.socket'] ?? '') as LinkPlan).creator, id);
  assert.not.match(created['wormhole-b.socket'] ?? '', /Creator=/);
});

test('each unit file of a link is marked as such', () => {
  const files = bound('id a url :80 trigger docker-run web child id b url :81 trigger docker-run db', {});
  assert.is(Object.keys(files).length, 6);
  for (const [name, text] of Object.entries(files)) assert.match(text, /^\[X-Wormhole\]$/m, name);
});

test('in a tunnel, it is the policies of the tunnel that let in that machine alone', () => {
  const inTunnel = { ...owner, tunnel: '0123456789abcdef' };
  const datagrams = bound('id a url udp://100.64.0.2:61234 tail docker-ns x', { owner: inTunnel });
  assert.equal(settings(datagrams['wormhole-a.socket'], 'PassPacketInfo'), ['yes']);
  const files = bound('id a url 100.64.0.2:61234 tail docker-ns x', { owner: inTunnel });
  assert.equal(settings(files['wormhole-a.socket'], 'IPAddressAllow'), []);
  assert.match(
    files['wormhole-a.service'] ?? '',
    / --allow 10\.0\.0\.1 --peer-timeout 30 --interface wh-012345$/m,
  );
  assert.equal((readLink(files['wormhole-a.socket'] ?? '') as LinkPlan).owner, inTunnel);
});

test('each listener has a line of its own, and what it is not for is left out', () => {
  const listeners = (recipe: string) => {
    const { 'wormhole-a.socket': socket } = units(...`id a ${recipe}`.split(' '));
    return (socket ?? '').match(/^(Listen|NoDelay|FreeBind|ReceiveBuffer|RemoveOnStop|Socket)[^\n]*/gm);
  };
  assert.equal(listeners('url udp://10.0.0.9:53 url tcp:// tail url :54'), [
    'ListenDatagram=10.0.0.9:53',
    'ListenStream=10.0.0.9:53',
    'FreeBind=yes',
  ]);
  assert.equal(listeners('url udp://:53 tail url :54'), ['ListenDatagram=127.0.0.1:53', 'ReceiveBuffer=4M']);
  assert.equal(listeners('url :53 tail url :54'), ['ListenStream=127.0.0.1:53', 'NoDelay=yes']);
  assert.equal(listeners('url unix:///run/100% tail url :1'), [
    'ListenStream=/run/100%%',
    'RemoveOnStop=yes',
  ]);
  assert.equal(listeners('url unixpacket://@x tail url unixpacket:///run/y'), ['ListenSequentialPacket=@x']);
  assert.equal(listeners('url unixgram:///run/x tail url unixgram:///run/y'), [
    'ListenDatagram=/run/x',
    'RemoveOnStop=yes',
  ]);
});

test('the options of unix sockets are in the units that they are for, and are read back', () => {
  const options = {
    ...DEFAULT_OPTIONS,
    udpTimeout: 5,
    socketMode: '0660',
    socketOwner: 'mysql:staff',
    group: 'docker',
  };
  const recipe = 'id a url unix:///run/x tail url unix:///home/me/run/y';
  const link = asLink(parseRecipe(recipe.split(' ')));
  const [socket, service] = render(link, options).map(({ text }) => text);
  assert.equal(readLink(socket ?? ''), { link, options });
  const [head = ''] = (socket ?? '').split('[X-Wormhole]');
  assert.equal(settings(head, 'SocketMode'), ['0660']);
  assert.equal(settings(head, 'SocketUser'), ['mysql']);
  assert.equal(settings(head, 'SocketGroup'), ['staff']);
  assert.equal(settings(service, 'SupplementaryGroups'), ['docker']);
  assert.ok(settings(service, 'BindReadOnlyPaths').includes('-/home/me/run'));
  assert.equal(settings(service, 'ProtectHome'), ['tmpfs']);
  assert.match(service ?? '', / --to \/home\/me\/run\/y$/m);
  const [plain, plainService] = render(asLink(parseRecipe('id a url :1 tail url :2'.split(' '))), options);
  assert.equal(settings(plain?.text.split('[X-Wormhole]')[0], 'Socket(Mode|User|Group)'), []);
  assert.equal(settings(plainService?.text, 'SupplementaryGroups'), []);
  assert.not.match(plainService?.text ?? '', /home/);
  assert.equal(settings(plainService?.text, 'ProtectHome'), ['yes']);
});

test('the limits on clients are in the units of the link that was created alone, and are read back', () => {
  const options = {
    ...DEFAULT_OPTIONS,
    maxConnections: 100,
    maxPerSource: 3,
    rate: 50,
    idleTimeout: 3600,
    keepAlive: 60,
  };
  const created = (recipe: string) => render(asLink(parseRecipe(recipe.split(' '))), options);
  const flags = (text = '') => / --counters 1 (.*)$/m.exec(text)?.[1];
  const [socket, service, childSocket, childService] = created(
    'id a url :1 tail docker-ns b child id a-2 url :2 tail url :3',
  ).map(({ text }) => text);
  const read = readLink(socket ?? '');
  assert.equal(read !== 'child' && read?.options, options);
  assert.is(
    flags(service),
    '--to 127.0.0.1:1 --max-connections 100 --max-per-source 3 --rate 50 --idle-timeout 3600 --keepalive 60',
  );
  assert.is(readLink(childSocket ?? ''), 'child');
  assert.is(flags(childService), '--to 127.0.0.1:3');
  const [, both] = created('id a url :1 url udp:// tail url :2').map(({ text }) => text);
  assert.match(flags(both) ?? '', /--max-connections 100 --max-sessions 100 --max-per-source 3/);
});

test('threads are in each forwarder of connections on this machine, and are read back', () => {
  const created = (recipe: string, workers: number | 'auto') =>
    render(asLink(parseRecipe(recipe.split(' '))), { ...DEFAULT_OPTIONS, workers }).map(({ text }) => text);
  const [socket = '', service = '', , child = ''] = created(
    'id a url :1 tail docker-ns b child id a-2 url :2 tail url :3',
    8,
  );
  const read = readLink(socket);
  assert.is(read !== 'child' && read?.options.workers, 8);
  for (const text of [service, child]) {
    assert.match(text, /^ExecStart=.* --workers 8$/m);
    assert.is(settings(text, 'TasksMax').at(-1), '40');
    assert.is(settings(text, 'FileDescriptorStoreMax').at(-1), '128');
  }
  const [autoSocket = '', auto = ''] = created('id a url :1 tail url :2', 'auto');
  const readAuto = readLink(autoSocket);
  assert.is(readAuto !== 'child' && readAuto?.options.workers, 'auto');
  assert.match(auto, /^ExecStart=.* --workers auto --cpu-limit \/run\/wormhole\/cpu\/0 /m);
  assert.match(
    auto,
    /^BindReadOnlyPaths=-\/sys\/fs\/cgroup\/system\.slice\/wormhole-a\.service\/cpu\.max:\/run\/wormhole\/cpu\/0$/m,
  );
  const [, datagrams = ''] = created('id a url udp://:1 tail url udp://:2', 8);
  assert.not.match(datagrams, /--workers/);
  assert.equal(settings(datagrams, 'TasksMax'), ['32']);
  assert.throws(
    () => readLink(socket.replace('Workers=8', 'Workers=0')),
    /Workers=0 is not a number of at least 1/,
  );
});

test('PROXY headers are for the first link of a recipe, and are read back', () => {
  const options = {
    ...DEFAULT_OPTIONS,
    proxyProtocol: 'v1' as const,
    acceptProxyProtocol: ['10.0.0.0/8', 'fd00::/8'],
  };
  const link = asLink(parseRecipe('id a url :1 chain id b url :2 tail url :3'.split(' ')));
  const files = Object.fromEntries(render(link, options).map(({ name, text }) => [name, text]));
  assert.equal(readLink(files['wormhole-a.socket'] ?? ''), { link, options });
  assert.match(
    files['wormhole-a.service'] ?? '',
    / --proxy-protocol v1 --accept-proxy-protocol 10\.0\.0\.0\/8,fd00::\/8$/m,
  );
  assert.not.match(files['wormhole-b.service'] ?? '', /proxy/);
  const privateUsers = (recipe: string, proxyProtocol?: 'v1' | 'v2') => {
    const chosen = proxyProtocol === undefined ? DEFAULT_OPTIONS : { ...DEFAULT_OPTIONS, proxyProtocol };
    const [, service] = render(asLink(parseRecipe(recipe.split(' '))), chosen);
    return settings(service?.text, 'PrivateUsers');
  };
  // Only where the forwarder tells the user of a client does it have to see it.
  assert.equal(privateUsers('id a url unix:///run/x tail url :1', 'v2'), ['no']);
  assert.equal(privateUsers('id a url unix:///run/x tail url :1', 'v1'), ['yes']);
  assert.equal(privateUsers('id a url unix:///run/x tail url :1'), ['yes']);
  assert.equal(privateUsers('id a url :2 tail url :1', 'v2'), ['yes']);
  const edited = (line: string) => () =>
    readLink((files['wormhole-a.socket'] ?? '').replace(/^(Accept)?ProxyProtocol=.*\n/gm, line));
  assert.throws(edited('ProxyProtocol=v3\n'), /ProxyProtocol=v3 is neither v1 nor v2/);
  assert.throws(
    edited('AcceptProxyProtocol=10.0.0.0\\8\n'),
    /AcceptProxyProtocol=.* is not a list of networks/,
  );
});

test('what belongs to several tails, and to a service, is read back', () => {
  const link = asLink(
    parseRecipe('id a url :1 tail url :2 docker-ns web or remote beta tail url :4'.split(' ')),
  );
  const plan: LinkPlan = {
    link,
    options: { ...DEFAULT_OPTIONS, balance: 'source', check: 7 },
    far: { ...far, tails: { web: KEY, beta: KEY.replace('0', 'f') } },
    drained: ['web', 'beta'],
  };
  const socketOf = (planned: LinkPlan) =>
    planLink(planned).flatMap((part) => renderLink(part, renderer))[0]?.text ?? '';
  const socket = socketOf(plan);
  assert.equal(readLink(socket), plan);
  const { drained: _, ...undrained } = plan;
  assert.equal(readLink(socket.replace(/^Drained=.*$/m, 'Drained=  ')), undrained);
  const published = { link, options: DEFAULT_OPTIONS, owner: { ...owner, service: 'web' } };
  assert.equal((readLink(socketOf(published)) as LinkPlan).owner, published.owner);
});

test('a unit file that somebody has spoilt says what is wrong with which setting', () => {
  const options: CreateOptions = {
    ...DEFAULT_OPTIONS,
    udpTimeout: 5,
    maxConnections: 9,
    balance: 'first',
    workers: 2,
    acceptProxyProtocol: ['10.0.0.0/8', 'fd00::/8'],
  };
  const link = asLink(parseRecipe('id a url :1 tail url :2 or url :3'.split(' ')));
  const socket = render(link, options)[0]?.text ?? '';
  const edited = (line: string) => socket.replace(new RegExp(`^${line.split('=', 1)}=.*$`, 'm'), () => line);
  for (const [line, expected] of [
    ['UdpTimeout=5s', 'UdpTimeout=5s is not a number of seconds'],
    ['UdpTimeout=0', 'UdpTimeout=0 is not a number of seconds'],
    ['UdpTimeout=31536001', 'UdpTimeout=31536001 is more than a year'],
    ['MaxConnections=many', 'MaxConnections=many is not a number'],
    ['Workers=some', 'Workers=some is neither auto nor a number of at least 1'],
    ['Balance=fair', 'Balance=fair is none of least, round-robin, first, source'],
    ['Pull=often', 'Pull=often is not never, missing or always'],
    ['AcceptProxyProtocol=10.0.0.0/8,x', 'AcceptProxyProtocol=10.0.0.0/8,x is not a list of networks'],
    ['Id=b', 'Id=b is not the id in Recipe='],
  ] as const)
    assert.throws(
      () => readLink(edited(line)),
      (error: Error) =>
        error instanceof UnreadableLink && error.message === `[X-Wormhole] cannot be read: ${expected}`,
      line,
    );
  assert.equal((readLink(edited('UdpTimeout=31536000')) as LinkPlan).options.udpTimeout, 31_536_000);
  assert.equal((readLink(socket.replace(/^StartTimeout=.*$/m, '')) as LinkPlan).options, options);
  // What other sections say does not count.
  assert.equal(readLink(`${socket}\n[X-Other]\nParent=b\nLink=c\n`), { link, options });
});

test('the forwarder sees the directory of its target, and what rules the machine there stays hidden', () => {
  const paths = (recipe: string) => {
    const { 'wormhole-a.service': service } = units(...`id a ${recipe}`.split(' '));
    return {
      shown: settings(service, 'BindReadOnlyPaths').filter((path) =>
        /^-\/(run(?!\/systemd\/journal\/socket$)|tmp|var\/tmp|srv)/.test(path),
      ),
      hidden: settings(service, 'InaccessiblePaths').flatMap((value) => value.split(' ')),
      families: settings(service, 'RestrictAddressFamilies'),
      filter: settings(service, 'IPAddressDeny'),
    };
  };
  const own = paths('url :1 tail url unix:///run/postgresql/.s.PGSQL.5432');
  assert.equal(own.shown, ['-/run/postgresql']);
  assert.ok(['-+/root', '-+/tmp', '-+/var/tmp'].every((path) => own.hidden.includes(path)));
  assert.equal(own.families, ['AF_UNIX']);
  assert.equal(own.filter, ['any']);
  const inRun = paths('url :1 tail url unix:///run/docker.sock');
  assert.equal(inRun.shown, ['-/run']);
  assert.ok(inRun.hidden.includes('-+/run/dbus') && inRun.hidden.includes('-+/run/containerd'));
  assert.not.ok(inRun.hidden.includes('-+/run/docker.sock'));
  // Of the journal, it reaches the socket that its lines go to, and no other.
  assert.ok(inRun.hidden.includes('-+/run/systemd/journal/stdout'));
  assert.not.ok(inRun.hidden.some((path) => '/run/systemd/journal/socket'.startsWith(path.slice(2))));
  const grams = paths('url unixgram:///srv/log tail url unixgram:///tmp/log');
  assert.equal(grams.shown, ['-/tmp', '-/srv', '-/var/tmp']);
  assert.not.ok(grams.hidden.includes('-+/tmp') || grams.hidden.includes('-+/var/tmp'));
});

test('what docker-run is given stands in the recipe and nowhere else', () => {
  const files = units('id', 'a', 'url', ':1', 'trigger', 'docker-run', '-e PASSWORD=swordfish db');
  for (const [name, text] of Object.entries(files)) {
    const lines = text.split('\n').filter((line) => line.includes('swordfish'));
    assert.ok(
      lines.every((line) => line.startsWith('Recipe=')),
      name,
    );
  }
});

test('a socket that somebody has edited beyond reading says why', () => {
  const { 'wormhole-a.socket': socket = '' } = units('id', 'a', 'url', ':1', 'tail', 'url', ':2');
  assert.throws(
    () => readLink(socket.replace(/^Recipe=.*/m, 'Recipe=nonsense')),
    (error: unknown) => error instanceof UnreadableLink && /cannot be read: .*nonsense/.test(error.message),
  );
  assert.throws(() => readLink(socket.replace(/^Id=.*/m, '')), /Id= is missing/);
  assert.throws(
    () => readLink(socket.replace(/^Pull=.*/m, 'Pull=perhaps')),
    /Pull=perhaps is not never, missing or always/,
  );
  assert.is(readLink('[Socket]\nListenStream=1\n'), undefined);
});

test.run();
