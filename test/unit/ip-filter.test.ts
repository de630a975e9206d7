import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { clientFilter, type IpFilter, targetFamilies, targetFilter } from '../../src/units/ip-filter.ts';

const link = (tail: string) => asLink(parseRecipe(`id a url :1 ${tail}`.split(' ')));
const routing = { routesLoopback: false };

const exact = (allow: string): IpFilter => ({ deny: 'any', allow });
const wrong = (deny: string): IpFilter => ({ deny });

/** The end of a recipe, what its forwarder may exchange packets with, and the family of its sockets. */
const targets: [tail: string, filter: IpFilter, families: string][] = [
  ['tail url :2', exact('127.0.0.1'), 'AF_INET'],
  ['tail url 127.0.0.9:2', exact('127.0.0.9'), 'AF_INET'],
  ['tail url [::1]:2', exact('::1'), 'AF_INET6'],
  ['tail url 0.0.0.0:2', exact('127.0.0.1'), 'AF_INET'],
  ['tail url [::]:2', exact('::1'), 'AF_INET6'],
  ['tail url [::ffff:127.0.0.1]:2', exact('127.0.0.1'), 'AF_INET6'],
  // Inside a container or a named namespace, no NAT and no IPsec of this machine comes between.
  ['tail url :2 docker-ns x', exact('127.0.0.1'), 'AF_INET'],
  ['tail url 10.0.0.7:2 docker-ns x', exact('10.0.0.7'), 'AF_INET'],
  ['tail url blue@[2001:db8::7]:2', exact('2001:db8::7'), 'AF_INET6'],
  ['trigger url :2 docker-run x', exact('127.0.0.1'), 'AF_INET'],
  ['chain id b url 127.0.0.1:3 tail url :4', exact('127.0.0.1'), 'AF_INET'],
  // On the host, there may be.
  ['tail url 10.0.0.7:2', wrong('localhost link-local multicast'), 'AF_INET'],
  ['tail url [2001:db8::7]:2', wrong('localhost link-local multicast'), 'AF_INET6'],
  ['tail url 169.254.169.254:80', wrong('localhost multicast'), 'AF_INET'],
  ['tail url [fe80::1]:80', wrong('localhost multicast'), 'AF_INET6'],
  // What a name leads to is not known; it must be nothing that only this machine reaches.
  ['tail url db.example:2', wrong('localhost link-local multicast'), 'AF_INET AF_INET6'],
  ['tail url db.example:2 docker-ns x', wrong('localhost link-local multicast'), 'AF_INET AF_INET6'],
  ['tail url blue@db.example:2', wrong('localhost link-local multicast'), 'AF_INET AF_INET6'],
  // Another machine says where its part is.
  ['remote m tail', wrong('localhost link-local multicast'), 'AF_INET AF_INET6'],
  ['remote localhost tail', wrong('link-local multicast'), 'AF_INET AF_INET6'],
  ['tunnel 127.0.0.1 tail', wrong('link-local multicast'), 'AF_INET AF_INET6'],
];

for (const [tail, filter, families] of targets) {
  test(`the forwarder of: ${tail}`, () => {
    assert.equal(targetFilter(link(tail), routing), filter);
    assert.is(targetFamilies(link(tail)), families);
  });
}

test('where packets for 127.0.0.1 may be sent elsewhere, its address is not all that is let through', () => {
  const routes = { routesLoopback: true };
  assert.equal(targetFilter(link('tail url :2'), routes), wrong('link-local multicast'));
  assert.equal(targetFilter(link('tail url :2 docker-ns x'), routes), exact('127.0.0.1'));
});

test('a name that /etc/hosts of this machine gives a loopback address may lead there, and not from a container', () => {
  const routes = { routesLoopback: false, loopbackNames: new Set(['own']) };
  assert.equal(targetFilter(link('tail url own:2'), routes), wrong('link-local multicast'));
  assert.equal(targetFilter(link('tail url OWN.:2'), routes), wrong('link-local multicast'));
  assert.equal(
    targetFilter(link('tail url own:2 docker-ns x'), routes),
    wrong('localhost link-local multicast'),
  );
  assert.equal(targetFilter(link('tail url own.example:2'), routes), wrong('localhost link-local multicast'));
});

test('clients of a loopback address are local, those of any other are not filtered', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1'])
    assert.equal(clientFilter({ protocol: 'tcp', port: 1, host }), exact('localhost'), host);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '2001:db8::1'])
    assert.is(clientFilter({ protocol: 'tcp', port: 1, host }), undefined, host);
});

test.run();
