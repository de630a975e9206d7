import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '../../src/forwarder/log.ts';
import { createLoop } from '../../src/forwarder/loop.ts';
import { createPool, type Pipe } from '../../src/forwarder/pipes.ts';
import { createMemory } from '../../src/forwarder/store/memory.ts';
import { createStore, type Kind, type Storable } from '../../src/forwarder/store/store.ts';
import { close, fcntl, pinned, pipe2 } from '../../src/forwarder/syscalls.ts';
import { fireDue } from '../../src/forwarder/timers.ts';

/* When snapshots of sessions are taken. The queues are those of the kernel; the clock is the test's. */

const ends = pinned(8);
pipe2(ends.address, 0);
const out = ends.words[0] as number;

/** Sessions of one pipe each. */
const kind: Kind<Storable> = { code: 1, prepare: () => {}, descriptors: () => [out], pipes: () => [] };

const F_DUPFD = 0;

/** A store, and a service manager that takes generations while `isWilling`. */
function createStored() {
  const loop = createLoop();
  const memory = createMemory(10);
  if (memory === undefined) throw new Error('no memory');
  const manager = {
    isWilling: true,
    taken: 0,
    refused: 0,
    kept: [] as number[],
    store(_name: string, descriptors: readonly number[]): boolean {
      if (manager.isWilling) manager.taken += 1;
      else manager.refused += 1;
      if (manager.isWilling) for (const fd of descriptors) manager.kept.push(fcntl(fd, F_DUPFD, 0));
      return manager.isWilling;
    },
    remove: () => {},
  };
  const log = createLog('test', loop.timers, () => 'sent');
  const store = createStore({
    ...{ loop, log, manager, memory },
    pool: createPool(),
    newest: 0,
    inherited: [],
    thread: 0,
  });
  const passTime = (ms: number): void => {
    loop.now += ms;
    fireDue(loop.timers, loop.now);
  };
  const end = (): void => {
    for (const fd of [loop.epoll, memory.fd, ...manager.kept]) close(fd);
  };
  return { loop, manager, store, passTime, end };
}

test('a pipe for which the service manager has no room is in a snapshot as soon as it has', () => {
  const { loop, manager, store, passTime, end } = createStored();
  const session: Storable = { openedAt: loop.now, stored: undefined };
  store.register(kind).opened(session);
  passTime(1000);
  assert.is(manager.taken, 1);
  // By then, nothing waits for the snapshot any more.
  passTime(1000);
  manager.isWilling = false;
  // The queue of the generation takes some pipes before it is full, and a new one would have to take its place.
  const pipes: Pipe[] = [];
  do pipes.push({ id: 1 + pipes.length, out, into: -1, size: 4096, generation: 0 });
  while (store.protect(pipes.at(-1) as Pipe));
  assert.is(manager.refused, 1);
  assert.ok(pipes.length > 10, `${pipes.length} pipes`);
  manager.isWilling = true;
  passTime(50);
  assert.is(manager.taken, 2);
  end();
});

test.run();
