import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, within } from './forwarder-launch.ts';
import { pausesOf, trace } from './forwarder-trace.ts';
import { named, namesOf, startAll, tailTo } from './tails.ts';
import { closeUnixSockets } from './unix-sockets.ts';

/* System calls of the front of a link with several tails fail, as they do without memory, or with too many descriptors in flight. */

test.after.each(async () => {
  closeUnixSockets();
  await closeAll();
});

test('a front whose connection to a tail epoll refuses offers its client again', async () => {
  const tail = tailTo((await named('one')).port);
  await startAll([tail]);
  const args = ['--idle', '0', '--tail', `${tail.name} ${tail.path} 1 5`];
  const { forwarder: first, rounds } = await trace(['epoll_ctl', 'connect'], { args });
  assert.equal(await namesOf(first.port, 1), ['one']);
  const calls = rounds().flat();
  const connected = calls.findIndex(({ name, args }) => name === 'connect' && args.includes(tail.path));
  const before = calls.slice(0, connected).filter(({ name }) => name === 'epoll_ctl').length;
  assert.ok(connected > 0 && before > 0);
  const { forwarder } = await trace([], {
    args,
    inject: [`epoll_ctl:error=ENOSPC:when=${before + 1}`],
  });
  assert.equal(await within(60_000, namesOf(forwarder.port, 1)), ['one']);
  assert.match(forwarder.log(), /its forwarder cannot be reached \(ENOSPC/);
});

for (const error of ['ETOOMANYREFS', 'ENOMEM']) {
  test(`a client that cannot be offered for now (${error}) is offered later, without a spin and without a fault of its tail`, async () => {
    const tail = tailTo((await named('one')).port);
    await startAll([tail]);
    const { forwarder, rounds } = await trace([], {
      args: ['--idle', '0', '--tail', `${tail.name} ${tail.path} 1 60`],
      inject: [`sendmsg:error=${error}:when=1..10`],
    });
    assert.equal(await within(50_000, namesOf(forwarder.port, 1)), ['one']);
    assert.ok(pausesOf(rounds()) >= 9, `${pausesOf(rounds())} pauses`);
    assert.is(forwarder.log(), '');
  });
}

test.run();
