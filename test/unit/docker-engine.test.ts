import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { statusOf } from '../../src/docker/engine.ts';

/** What dockerode throws for an answer of the engine. */
const answer = (statusCode: number, message: string) =>
  Object.assign(new Error(message), { statusCode, json: { message } });

test('a container that is removed while Podman looks at it does not exist', () => {
  const id = 'b5364b5925b235c55ee948772e4b67155f715de3f10ab72460833c25ef006619';
  assert.is(statusOf(answer(500, `container ${id} does not exist in database: no such container`)), 404);
});

test('any other status is that of the answer', () => {
  assert.is(statusOf(answer(404, 'No such container: echo')), 404);
  assert.is(statusOf(answer(409, 'container is marked for removal: no such container')), 409);
  assert.is(statusOf(answer(500, 'no such container: it says, but goes on')), 500);
  assert.is(statusOf(answer(500, 'driver failed')), 500);
  assert.is(statusOf(new Error('connect ENOENT')), undefined);
});

test.run();
