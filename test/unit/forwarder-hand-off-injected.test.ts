import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, serve, sleep, within } from './forwarder-launch.ts';
import { createTrace, pausesOf, trace } from './forwarder-trace.ts';
import { named, namesOf, serves, startAll, tailTo } from './tails.ts';
import { closeUnixSockets } from './unix-sockets.ts';

/* System calls of the forwarders of a link with several tails fail, as they do without memory, or with too many descriptors in flight. */

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

test('a tail whose connection to its front epoll refuses does not check its target, for which nobody asks', async () => {
  let checks = 0;
  const { port } = await serve(() => {
    checks += 1;
  });
  const tail = tailTo(port, ['--check', '1']);
  const first = createTrace({ names: ['epoll_ctl', 'accept4'] });
  const program = tail.start(first.wrapper);
  await serves(tail);
  program.kill('SIGKILL');
  await program.exited;
  const calls = first.rounds().flat();
  const accepted = calls.findIndex(({ name, result }) => name === 'accept4' && result >= 0);
  const before = calls.slice(0, accepted).filter(({ name }) => name === 'epoll_ctl').length;
  assert.ok(accepted > 0 && before > 0);
  await sleep(100);
  checks = 0;
  tail.start(createTrace({ inject: [`epoll_ctl:error=ENOSPC:when=${before + 1}`] }).wrapper);
  // The front sees its end.
  await serves(tail);
  await sleep(2500);
  assert.is(checks, 0);
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
