import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { greeter, hears } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Commands that are killed, or fail, while another machine has parts of their links. That machine is the host itself. */

const RECORDS = '/var/lib/wormhole/pending-deletions';

labSuite(
  'killed commands, and parts on another machine',
  async () => {
    const host = await installedHost({ name: 'self', docker: false });
    await greeter(host, 'one', 4200, 'one');
    await greeter(host, 'two', 4201, 'two');
    return host;
  },
  (test, at) => {
    test('a change that is killed keeps the new part until it is put back, which deletes it', async () => {
      const host = at();
      await succeeds(host, 'create id r url :7100 tail url :4200');
      await killedAt(
        host,
        { path: '/run/wormhole/links/r', calls: 'mkdir,mkdirat' },
        'create --replace id r url :7100 remote self tail url :4201',
      );
      await tellOthers(host);
      // Until then its record is there. A request to wormholed, which is the other machine here, may have had it put back.
      const records = (await host.run(`ls ${RECORDS}`)).stdout.trim().split('\n').filter(Boolean);
      assert.is((await parts(host)).length, records.length);
      await succeeds(host, 'create id other url :7101 tail url :4200');
      assert.is(await hears(host, 7100), 'one\n');
      await without(host);
      await succeeds(host, 'delete r other');
      await leavesNothing(host);
    });

    test('a change that is killed when it is done: all its former parts are deleted', async () => {
      const host = at();
      await succeeds(
        host,
        'create --balance first id b url :7110 remote self tail url :4200 or remote self tail url :4201',
      );
      await killedAt(
        host,
        { path: '/var/lib/wormhole/former-links/b', calls: 'unlink,unlinkat' },
        'create --replace id b url :7110 tail url :4200',
      );
      await tellOthers(host);
      await without(host);
      assert.is(await hears(host, 7110), 'one\n');
      await succeeds(host, 'delete b');
      await leavesNothing(host);
    });

    test('a create that is killed when it is done keeps the parts of its tails', async () => {
      const host = at();
      await succeeds(
        host,
        'create --balance first id b url :7110 remote self tail url :4200 or remote self tail url :4201',
      );
      const before = await parts(host);
      assert.is(before.length, 2);
      // As that leaves it.
      const { stdout } = await host.run('grep -h ^FarTails= /etc/systemd/system/wormhole-b.socket');
      for (const partId of stdout.match(/[0-9a-f]{32}/g) ?? []) {
        const record = {
          ...{ kind: 'part', partId, peer: 'self', keyFile: '/etc/wormhole/key.secret', until: 0 },
          ...{ linkId: 'b', recipe: 'url :7110' },
        };
        await host.run(`cat >${RECORDS}/part-${partId}`, { input: JSON.stringify(record) });
      }
      await tellOthers(host);
      assert.is((await host.run(`ls ${RECORDS}`)).stdout, '');
      assert.equal(await parts(host), before);
      await succeeds(host, 'delete b');
      await without(host);
      await leavesNothing(host);
    });

    test('a delete that fails in the daemon lets others tell the machines of its parts', async () => {
      const host = at();
      await succeeds(host, 'create id r url :7100 remote self tail url :4200');
      // What the daemon takes for a file that it may remove.
      const directory = '/etc/systemd/system/wormhole-r.socket.d';
      await host.run(`mkdir -p ${directory}/.50-wormhole-file.conf.1.new`);
      await fails(host, '-H tcp://self delete r', /EISDIR/);
      await host.run(`for file in ${RECORDS}/part-*; do [ ! -e $file ] || flock -n $file true || exit 1; done
        rm -r ${directory}`);
      await succeeds(host, 'create id other url :7101 tail url :4200');
      await without(host);
      await succeeds(host, 'delete other');
      await leavesNothing(host);
    });

    test('a part that is asked for when its link is deleted is deleted, too', async () => {
      const host = at();
      await succeeds(host, 'create id r url :7100 remote self tail url :4200');
      await host.run(`nft 'add table inet wire; add chain inet wire out { type filter hook output priority 0; }; add rule inet wire out tcp dport 9999 drop'
        rm /run/wormhole/links/r/far; systemctl restart --no-block wormhole-far
        until ss -Htn state syn-sent dport = :9999 | grep -q .; do sleep 0.05; done
        systemctl kill -s STOP wormhole-far; nft delete table inet wire`);
      await succeeds(host, 'delete r');
      assert.equal(await parts(host), []);
      await host.run('systemctl kill -s CONT wormhole-far');
      await quiet(host);
      await without(host);
      await leavesNothing(host);
    });
  },
);

/** Runs a command that is killed before its first system call of these that has this path. */
async function killedAt(
  host: Host,
  { path, calls }: { path: string; calls: string },
  args: string,
): Promise<void> {
  const { status } = await host.run(
    `strace -f -qq -o /dev/null -P ${path} -e trace=${calls} -e inject=${calls}:signal=KILL:when=1 wormhole ${args}`,
    { check: false },
  );
  assert.is(status, 137, args);
}

/** Has other machines told what is pending, as after a boot. */
async function tellOthers(host: Host): Promise<void> {
  await host.run('systemctl restart wormhole-far');
  await quiet(host);
}

async function quiet(host: Host): Promise<void> {
  await host.waitFor(
    async () =>
      (await host.run('systemctl is-active wormhole-far', { check: false })).stdout === 'inactive\n',
    { timeout: 60, what: 'the end of wormhole-far' },
  );
}

/** The ids of the parts that the host has of links. */
async function parts(host: Host): Promise<string[]> {
  const listed: { id: string; owner?: string }[] = JSON.parse(await succeeds(host, 'list --json'));
  return listed.filter(({ owner }) => owner !== undefined).map(({ id }) => id);
}

/** Waits until the host has no part of any link. */
function without(host: Host): Promise<unknown> {
  return host.waitFor(async () => (await parts(host)).length === 0, { timeout: 60, what: 'the parts to go' });
}
