import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PlaceId } from '../../src/recipe/link.ts';
import { idOfUnit, netnsInstance, netnsPath, netnsUnit, placeOfInstance } from '../../src/units/names.ts';

test('a container is its own instance', () => {
  const place: PlaceId = { kind: 'container', name: 'my-app_1.x' };
  assert.is(netnsUnit(place), 'wormhole-netns@my-app_1.x.service');
  assert.is(netnsPath(place), '/run/wormhole/netns/my-app_1.x');
  assert.equal(placeOfInstance('my-app_1.x'), place);
});

test('a named netns cannot be taken for a container', () => {
  const place: PlaceId = { kind: 'netns', name: 'blue-green' };
  assert.is(netnsInstance(place), 'netns:blue\\x2dgreen');
  assert.equal(placeOfInstance('netns:blue\\x2dgreen'), place);
});

test('the host needs no unit for its namespace', () => {
  assert.is(netnsUnit({ kind: 'host' }), undefined);
  assert.is(netnsPath({ kind: 'host' }), undefined);
});

test('ids are read from the names of links alone', () => {
  assert.is(idOfUnit('wormhole-80-3306.socket'), '80-3306');
  assert.is(idOfUnit('wormhole-web.service'), 'web');
  for (const other of [
    'wormhole-sync.service',
    'wormhole-sync.path',
    'wormhole-netns@a.service',
    'ssh.socket',
  ]) {
    assert.is(idOfUnit(other), undefined, other);
  }
});

test.run();
