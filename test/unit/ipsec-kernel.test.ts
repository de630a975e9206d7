import { readlinkSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { applySteps, IpError, ip, runRemovals } from '../../src/ipsec/apply.ts';
import { requireIpsec } from '../../src/ipsec/capability.ts';
import {
  associationsOf,
  hasAddress,
  hasInterface,
  isGuarded,
  type KernelInterface,
  type KernelState,
  linesToEnd,
  linesToSweep,
  occupied,
  pathMtu,
  portsOf,
  readKernel,
} from '../../src/ipsec/kernel.ts';
import { type KernelAssociation, type KernelPolicy, parsePolicies } from '../../src/ipsec/parse.ts';
import { changeInterfaceSteps, changePortsStep } from '../../src/ipsec/plan.ts';
import { POLICIES, STATES } from './ipsec-output.ts';
import { recordIp } from './recording-ip.ts';

/* What is read of the kernel, and what is concluded from it: which lines end a tunnel, and nothing that is somebody else's. */

const test = suite('the kernel of a tunnel');

const recorded = recordIp();
test.before.each(() => recorded.reset());
test.after(recorded.remove);

const NUMBER = 0x57af8e0c;
const outer = { local: 'fd91::2', remote: 'fd91::3' };
const inner = { local: '100.64.19.98', remote: '100.64.19.99' };
const wanted = { number: NUMBER, outer, inner, mtu: 1326 };

const traffic = (bytes: number, packets: number) => ({ bytes, packets });
const LINKS = [
  {
    ifname: 'eth0',
    mtu: 1500,
    flags: ['UP'],
    addr_info: [
      { family: 'inet', local: '10.0.0.5' },
      { family: 'inet6', local: 'fd91::2' },
    ],
    stats64: { rx: traffic(1, 1), tx: traffic(1, 1) },
  },
  {
    ifname: 'wh-af8e0c',
    mtu: 1326,
    flags: ['NOARP', 'UP', 'LOWER_UP'],
    addr_info: [
      { family: 'inet6', local: 'fe80::1' },
      { family: 'inet', local: inner.local, address: inner.remote },
    ],
    stats64: { rx: { ...traffic(5040, 60), errors: 1 }, tx: traffic(504, 6) },
  },
];

const association = (more: Partial<KernelAssociation>): KernelAssociation => ({
  ...{ src: outer.remote, dst: outer.local, spi: 256, number: NUMBER, bytes: 0, packets: 0, added: 0 },
  errors: { replay: 0, window: 0, authentication: 0 },
  ...more,
});

/** A kernel that has one tunnel, whole. */
function kernel(change: Partial<KernelState> = {}): KernelState {
  const one: KernelInterface = {
    ...{ number: NUMBER, up: true, mtu: 1326, addresses: [inner] },
    ...{ received: traffic(0, 0), sent: traffic(0, 0) },
  };
  const associations = [
    association({ spi: 0x4de0 }),
    association({ src: outer.local, dst: outer.remote, spi: 0x7f1b }),
  ];
  return { associations, policies: parsePolicies(POLICIES), interfaces: [one], addresses: [], ...change };
}

const END_ASSOCIATIONS = [
  'xfrm state delete src fd91::3 dst fd91::2 proto esp spi 0x4de0',
  'xfrm state delete src fd91::2 dst fd91::3 proto esp spi 0x7f1b',
];
const END_POLICIES = [
  `xfrm policy delete index 40 dir in if_id ${NUMBER}`,
  `xfrm policy delete index 33 dir out if_id ${NUMBER}`,
  'xfrm policy delete index 25 dir out',
];
const END_GUARDS = [
  'xfrm policy delete index 17 dir out',
  'xfrm policy delete index 10 dir fwd',
  'xfrm policy delete index 8 dir in',
];

test('the associations, policies, interfaces and addresses are read, those of others left out', async () => {
  recorded.reset({ answers: { states: STATES, policies: POLICIES, links: LINKS } });
  const { associations, policies, interfaces, addresses } = await readKernel();
  assert.equal(
    associations.map(({ spi, bytes, packets }) => ({ spi, bytes, packets })),
    [
      { spi: 0x7f1bbcc1, bytes: 504, packets: 6 },
      { spi: 0x4de075eb, bytes: 504, packets: 6 },
    ],
  );
  assert.is(policies.length, 6);
  assert.equal(interfaces, [
    {
      number: NUMBER,
      mtu: 1326,
      up: true,
      addresses: [inner],
      received: traffic(5040, 60),
      sent: traffic(504, 6),
    },
  ]);
  assert.equal(addresses, ['10.0.0.5', 'fd91::2', 'fe80::1', inner.local]);
});

test('each policy has all by which it is compared and deleted', () => {
  const policies = parsePolicies(POLICIES);
  const block = { src: '0.0.0.0/0', action: 'block', priority: 22344, ifId: 0 };
  const own = { action: 'allow', priority: 0, ifId: NUMBER, number: NUMBER };
  assert.equal(policies, [
    { ...block, dst: '100.64.19.99/32', dir: 'out', index: 17 },
    { ...block, dst: '100.64.19.99/32', dir: 'fwd', index: 10 },
    { ...block, dst: '100.64.19.98/32', dir: 'in', index: 8 },
    {
      ...{ ...own, src: '100.64.19.99/32', dst: '100.64.19.98/32', dir: 'in', index: 40 },
      ends: { src: 'fd91::3', dst: 'fd91::2' },
    },
    {
      ...{ ...own, src: '100.64.19.98/32', dst: '100.64.19.99/32', dir: 'out', index: 33 },
      ends: { src: 'fd91::2', dst: 'fd91::3' },
    },
    {
      ...{ ...block, dst: '100.64.19.99/32', dir: 'out', index: 25 },
      ...{ action: 'allow', priority: 22343, device: 'wh-af8e0c' },
    },
  ]);
  // That of a socket, as an IKE daemon has it (xfrm_user_policy() in net/xfrm/xfrm_state.c).
  assert.equal(parsePolicies('src ::/0 dst ::/0 uid 0\n\tsocket in action allow index 3 priority 0\n'), []);
});

test('the policies of others are not looked at, whatever they are like', async () => {
  const others = [
    'src 10.0.0.0/8 dst 10.1.0.0/16 uid 0\n\tdir out action block index 1 priority 100\n',
    'src 10.0.0.0/8 dst 10.1.0.0/16 uid 0\n\tdir out action allow index 2 priority 22343\n',
    'src 10.0.0.0/8 dst 10.1.0.0/16 dev eth0 uid 0\n\tdir out action allow index 3 priority 0\n',
    'src 10.0.0.0/8 dst 10.1.0.0/16 uid 0\n\tdir out action allow index 4 priority 22344\n\tif_id 0x7\n',
  ];
  const own = [
    'src 0.0.0.0/0 dst 100.64.0.3/32 uid 0\n\tdir out action block index 5 priority 22344\n',
    'src 0.0.0.0/0 dst 100.64.0.3/32 dev if7 uid 0\n\tdir out action allow index 6 priority 22343\n',
    `src 0.0.0.0/0 dst 100.64.0.3/32 uid 0\n\tdir out action allow index 7 priority 0\n\tif_id 0x${NUMBER.toString(16)}\n`,
    `src 0.0.0.0/0 dst 100.64.0.3/32 uid 0\n\tdir out action allow index 8 priority 0\n\ttmpl src a dst b\n\t\treqid ${NUMBER}\n`,
  ];
  recorded.reset({ answers: { policies: [...others, ...own].join('') } });
  assert.equal(
    (await readKernel()).policies.map(({ index }) => index),
    [5, 6, 7, 8],
  );
});

test('an interface is whole when it is up, with its MTU, its only address and its policies', () => {
  const [one] = kernel().interfaces as [KernelInterface];
  const withInterface = (change: Partial<KernelInterface>) => kernel({ interfaces: [{ ...one, ...change }] });
  assert.ok(hasInterface(kernel(), wanted));
  const other = { local: inner.local, remote: '100.64.19.97' };
  for (const wrong of [
    withInterface({ up: false }),
    withInterface({ mtu: 1325 }),
    withInterface({ number: NUMBER + 1 }),
    withInterface({ addresses: [] }),
    withInterface({ addresses: [other] }),
    withInterface({ addresses: [{ ...inner, local: '100.64.19.96' }] }),
    withInterface({ addresses: [inner, other] }),
    kernel({ interfaces: [] }),
  ])
    assert.not(hasInterface(wrong, wanted));
  for (const [index, { ifId, device }] of parsePolicies(POLICIES).entries()) {
    const policies = parsePolicies(POLICIES);
    const isOwn = ifId !== 0 || device !== undefined;
    assert.is(hasInterface(kernel({ policies: policies.toSpliced(index, 1) }), wanted), !isOwn);
    if (!isOwn) continue;
    const changes: Partial<KernelPolicy>[] = device
      ? [{ device: 'wh-000001' }, { dst: '100.64.0.9/32' }]
      : [];
    if (!device) changes.push({ dir: 'fwd' }, { ends: { src: 'fd91::9', dst: 'fd91::2' } });
    if (!device) changes.push({ ends: { src: 'fd91::2', dst: 'fd91::9' } }, { ifId: NUMBER + 1 });
    for (const change of changes) {
      const changed = policies.with(index, { ...(policies[index] as KernelPolicy), ...change });
      assert.not(hasInterface(kernel({ policies: changed }), wanted), JSON.stringify(change));
    }
  }
  const twice = [...parsePolicies(POLICIES), { ...(parsePolicies(POLICIES)[3] as KernelPolicy), index: 48 }];
  assert.not(hasInterface(kernel({ policies: twice }), wanted));
});

test('the address alone counts for an interface that can stay', () => {
  assert.ok(hasAddress(kernel({ policies: [] }), { ...wanted, mtu: 1 }));
  for (const addresses of [[], [inner, inner], [{ ...inner, remote: '' }], [{ ...inner, local: '' }]]) {
    const [one] = kernel().interfaces as [KernelInterface];
    assert.not(
      hasAddress(kernel({ interfaces: [{ ...one, addresses }] }), wanted),
      JSON.stringify(addresses),
    );
  }
});

test('of several interfaces, each tunnel has its own', () => {
  const [own] = kernel().interfaces as [KernelInterface];
  const other = { ...own, number: NUMBER + 1, mtu: 1, up: false, addresses: [] };
  for (const interfaces of [
    [own, other],
    [other, own],
  ]) {
    assert.ok(hasInterface(kernel({ interfaces }), wanted));
    assert.ok(hasAddress(kernel({ interfaces }), wanted));
  }
});

test('what ip prints does not depend on where this machine is, and in which language it speaks', async () => {
  const before = { TZ: process.env.TZ, LC_ALL: process.env.LC_ALL };
  Object.assign(process.env, { TZ: 'Asia/Tokyo', LC_ALL: 'de_DE.UTF-8' });
  try {
    await applySteps([{ line: 'one' }]);
  } finally {
    for (const [name, value] of Object.entries(before))
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  }
  assert.equal(recorded.environments(), ['UTC C']);
});

test('it is guarded when each of the three ways is blocked for the right address', () => {
  const policies = parsePolicies(POLICIES);
  assert.ok(isGuarded(kernel(), inner));
  assert.not(isGuarded(kernel(), { local: inner.remote, remote: inner.local }));
  for (const [index, policy] of policies.entries()) {
    const isGuard = policy.action === 'block';
    for (const change of [{ action: 'allow' }, { dst: '100.64.0.9/32' }, { dir: 'other' }]) {
      const changed = policies.with(index, { ...policy, ...change });
      assert.is(
        isGuarded(kernel({ policies: changed }), inner),
        !isGuard,
        JSON.stringify({ policy, change }),
      );
    }
  }
});

test('the associations of a tunnel: each direction, the newest first, and those of former addresses', () => {
  const incoming = [1, 3, 2].map((added) => association({ spi: 300 + added, added }));
  const out = [5, 4].map((added) =>
    association({ src: outer.local, dst: outer.remote, spi: 300 + added, added }),
  );
  const former = association({ src: 'fd91::8', spi: 900 });
  const reversed = association({ src: outer.local, dst: 'fd91::8', spi: 901 });
  const others = association({ number: NUMBER + 1, spi: 999 });
  const state = kernel({ associations: [...incoming, ...out, former, reversed, others] });
  const spis = (list: KernelAssociation[]) => list.map(({ spi }) => spi);
  const found = associationsOf(state, NUMBER, outer);
  assert.equal(spis(found.in), [303, 302, 301]);
  assert.equal(spis(found.out), [305, 304]);
  assert.equal(spis(found.other).sort(), [900, 901]);
});

test('the UDP ports are those of the outgoing association, and ESP alone has none', () => {
  const encapsulation = 'espinudp 4500 4507 0.0.0.0';
  assert.equal(portsOf(association({ encapsulation })), { local: 4500, remote: 4507 });
  assert.is(portsOf(association({})), undefined);
  assert.is(portsOf(undefined), undefined);
  for (const other of ['', 'espintcp 4500 4507 ::', 'espinudp 4500', `x${encapsulation}`])
    assert.is(portsOf(association({ encapsulation: other })), undefined, other);
});

test('the lines that end a tunnel name what it has, and nothing that blocks or is of another', () => {
  assert.equal(linesToEnd(kernel(), NUMBER), [...END_ASSOCIATIONS, ...END_POLICIES, 'link delete wh-af8e0c']);
  assert.equal(linesToEnd(kernel(), NUMBER + 1), []);
  // One whose interface is gone is known by the reqid of its template.
  const orphan = { ...(parsePolicies(POLICIES)[4] as KernelPolicy), ifId: 0 };
  assert.equal(linesToEnd({ ...kernel(), policies: [orphan], associations: [], interfaces: [] }, NUMBER), [
    'xfrm policy delete index 33 dir out',
  ]);
});

test('what belongs to no known tunnel is swept: its parts, what admits to it, and what blocks unless it is guarded', () => {
  const all = [...END_ASSOCIATIONS, ...END_POLICIES, 'link delete wh-af8e0c'];
  const lines = (numbers: number[], guarded: (typeof inner)[], state = kernel()) =>
    linesToSweep(state, new Set(numbers), guarded);
  assert.equal(lines([NUMBER], [inner]), []);
  assert.equal(lines([NUMBER], []), END_GUARDS);
  // The policy that admits to the interface is found by its device and by its priority: removing it twice is fine.
  assert.equal(lines([], [inner]), [...all, 'xfrm policy delete index 25 dir out']);
  assert.equal(lines([], []), [...all, 'xfrm policy delete index 25 dir out', ...END_GUARDS]);
  assert.equal(lines([], [{ local: inner.local, remote: '100.64.0.9' }]).slice(-2), END_GUARDS.slice(0, 2));
  // Each part alone shows a tunnel that a killed command has left.
  const none = kernel({ associations: [], policies: [], interfaces: [] });
  const { associations, policies, interfaces } = kernel();
  assert.equal(lines([], [], { ...none, associations }), END_ASSOCIATIONS);
  assert.equal(lines([], [], { ...none, interfaces }), ['link delete wh-af8e0c']);
  assert.equal(lines([], [], { ...none, policies: policies.slice(3, 4) }), END_POLICIES.slice(0, 1));
  const orphan = { ...(policies[4] as KernelPolicy), ifId: 0 };
  assert.equal(lines([], [], { ...none, policies: [orphan] }), ['xfrm policy delete index 33 dir out']);
  const nameless = { ...(policies[5] as KernelPolicy), device: 'if7' };
  assert.equal(lines([NUMBER], [], { ...none, policies: [nameless] }), [
    'xfrm policy delete index 25 dir out',
  ]);
});

test('what is occupied: all IPv4 addresses and their peers, and every network with a route but the default', async () => {
  recorded.reset({
    answers: {
      links: [
        { addr_info: [{ local: '10.0.0.5' }, { local: '100.64.0.2', address: '100.64.0.3' }] },
        {},
        { addr_info: [] },
      ],
      routes: [{ dst: 'default' }, { dst: '10.0.0.0/24' }, { dst: '10.9.9.9' }, {}],
    },
  });
  const { addresses, networks } = await occupied();
  assert.equal([...addresses], ['10.0.0.5', '100.64.0.2', '100.64.0.3']);
  assert.equal(networks, [
    { first: 10 * 2 ** 24, bits: 24 },
    { first: (10 << 24) + (9 << 16) + (9 << 8) + 9, bits: 32 },
  ]);
});

test('the MTU of the path is that of the device of the route', async () => {
  assert.is(await pathMtu('10.0.0.2'), 65_536);
});

test('an interface that keeps its address gets its policies, its MTU and is up', () => {
  const lines = changeInterfaceSteps(wanted).map(({ line }) => line);
  assert.is(lines.length, 4);
  assert.ok(lines.slice(0, 3).every((line) => line.startsWith('xfrm policy add ')));
  assert.is(lines[3], 'link set wh-af8e0c mtu 1326 up');
});

test('another port of the other machine does not shorten the life of a key', () => {
  const id = { src: outer.local, dst: outer.remote, spi: 256 };
  const { line } = changePortsStep({ number: NUMBER, id, encap: 'espinudp 4500 4507 ::' });
  assert.match(
    line,
    /^xfrm state update src fd91::2 dst fd91::3 proto esp spi 0x100 .* time-hard 10800 encap espinudp 4500 4507 :: aead /,
  );
});

test('whether the kernel can carry tunnels is tried in a namespace of its own', async () => {
  recorded.reset({ refused: 'type xfrm' });
  await requireIpsec().then(
    () => assert.unreachable(),
    (error: unknown) => assert.instance(error, IpError),
  );
  assert.equal(recorded.lines(), ['link add wh-probe type xfrm if_id 1']);
  recorded.reset();
  await requireIpsec();
  assert.not.ok(recorded.namespaces().includes(readlinkSync('/proc/self/ns/net')));
  assert.match(
    recorded.lines()[1] ?? '',
    /^xfrm state add .* if_id 1 aead rfc4106\(gcm\(aes\)\) 0x0{72} 128$/,
  );
});

test('a refusal is one line: what was asked, and what ip says', async () => {
  recorded.reset({ refused: 'one' });
  for (const work of [() => applySteps([{ line: 'one' }]), () => runRemovals(['one', 'two'])])
    await work().then(
      () => assert.unreachable(),
      (error: Error) => assert.is(error.message, 'ip one: RTNETLINK answers: Invalid argument'),
    );
  assert.equal(recorded.lines(), ['one', 'one', 'two']);
});

test('where ip is missing, it says what to install', async () => {
  const path = process.env.PATH;
  process.env.PATH = '/nowhere';
  try {
    await ip(['link']).then(
      () => assert.unreachable(),
      ({ message }: Error) => assert.match(message, /^ip cannot be run \(.*ENOENT\): install iproute2$/),
    );
  } finally {
    process.env.PATH = path;
  }
});

test.run();
