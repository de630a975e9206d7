import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { installedHost, succeeds } from './installed.ts';
import { allGone } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* A primary of PostgreSQL and its standby on two machines, and a third machine whose clients follow when the first one loses power. */

interface Three {
  near: Host;
  primary: Host;
  standby: Host;
}

const CLIENTS = new URL('postgres-clients.sh', import.meta.url).pathname;

/** How long after the loss of the primary's machine a new connection may still wait for it, ms: what the documentation promises. */
const PROMISE_MS = 5000;

async function start(): Promise<Three> {
  const packages = ['postgresql'];
  const near = await installedHost({ name: 'near', docker: false, packages });
  const primary = await installedHost({ name: 'primary', docker: false, packages });
  const standby = await installedHost({ name: 'standby', docker: false, packages });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  for (const host of [primary, standby]) await writeKey(host, key);
  // The clients come from there; it has the package for psql.
  await near.run('systemctl disable --now postgresql');
  for (const host of [primary, standby]) await configure(host);
  return { near, primary, standby };
}

/** A server that only its own machine reaches, and which lets everyone in there. */
async function configure(host: Host): Promise<void> {
  await host.run(`
    cd /etc/postgresql/15/main
    printf '%s\\n' 'local all all trust' 'host all all 127.0.0.1/32 trust' 'host replication all 127.0.0.1/32 trust' >pg_hba.conf
    printf '%s\\n' "listen_addresses = '127.0.0.1'" "cluster_name = '${host.name}'" fsync=off >conf.d/lab.conf
    systemctl restart postgresql@15-main`);
}

/** Runs SQL through the link of a host, and returns what it answers. */
async function query(host: Host, sql: string): Promise<string> {
  const psql = 'psql -h 127.0.0.1 -p 5432 -U postgres -v ON_ERROR_STOP=1 -Atq';
  return (await host.run(psql, { input: sql })).stdout.trim();
}

/** A connection that has ended. */
interface Attempt {
  /** When it began, and how long it took, ms. */
  began: number;
  took: number;
  /** The server that has answered, or "none". */
  server: string;
}

/** The connections that the clients of a host have made. */
async function attempts(host: Host): Promise<Attempt[]> {
  const { stdout } = await host.run('cat /run/attempts');
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .map(([began, took, server = '']) => ({ began: Number(began), took: Number(took), server }));
}

labSuite('PostgreSQL with a standby on another machine', start, (test, at) => {
  /** A session with the standby, which is open all the time. */
  const inSession = async (sql: string, answer: string) => {
    const { near } = at();
    // Asked again until then: what the primary has committed, the standby shows a little later.
    const asks = async () => {
      await near.run('cat >/run/session-in', { input: `${sql}\n` });
      return (await near.run('sleep 0.1; tail -n 1 /run/session-out')).stdout.trim() === answer;
    };
    await near.waitFor(asks, { what: `the session with the standby to answer "${answer}"` });
  };

  test('the standby follows the primary through a link, and clients go to the primary', async () => {
    const { near, primary, standby } = at();
    await succeeds(standby, 'create url :5433 remote primary tail url :5432');
    await standby.run(
      `systemctl stop postgresql@15-main
      rm -r /var/lib/postgresql/15/main
      setpriv --reuid=postgres --regid=postgres --init-groups pg_basebackup -h 127.0.0.1 -p 5433 -U postgres -D /var/lib/postgresql/15/main --write-recovery-conf --checkpoint=fast
      systemctl start postgresql@15-main`,
      { timeout: 120 },
    );
    // What the primary says it has committed, the standby has.
    await primary.run(`
      echo "synchronous_standby_names = '*'" >>/etc/postgresql/15/main/conf.d/lab.conf
      systemctl reload postgresql@15-main`);
    await succeeds(
      near,
      'create --balance first --check 1s url :5432 remote primary tail url :5432 or remote standby tail url :5432',
    );
    assert.is(await query(near, 'show cluster_name'), 'primary');
    await query(near, 'create table entries (line text); insert into entries values ($$before$$)');
  });

  test('a session with the standby', async () => {
    const { near } = at();
    await succeeds(near, 'drain 5432 primary');
    await near.run(`
      mkfifo -m 600 /run/session-in
      systemd-run -q --unit session sh -c 'exec psql -h 127.0.0.1 -p 5432 -U postgres -Atq <>/run/session-in >/run/session-out 2>&1'`);
    await inSession('show cluster_name;', 'standby');
    await succeeds(near, 'undrain 5432 primary');
    assert.is(await query(near, 'show cluster_name'), 'primary');
    await inSession('select line from entries;', 'before');
  });

  test("when the primary's machine loses power, new connections reach the standby, and its sessions go on", async () => {
    const { near, primary } = at();
    await near.copyIn(CLIENTS, '/run');
    await near.run('systemd-run -q --unit clients bash /run/postgres-clients.sh 5432 /run/attempts');
    await near.waitFor(
      async () => (await attempts(near)).filter(({ server }) => server === 'primary').length > 5,
      { what: 'clients of the primary' },
    );
    // Without the cable first, its kernel would still say that its sockets are gone.
    await primary.setCable('down');
    const lostAt = Date.now();
    await primary.crash();
    const later = (all: Attempt[], ms: number) => all.filter(({ began }) => began >= lostAt + ms);
    await near.waitFor(async () => later(await attempts(near), PROMISE_MS).length > 20, {
      timeout: 120,
      what: `connections that begin ${PROMISE_MS / 1000} s after the loss`,
    });
    // Those that are under way when the clients are stopped have no answer.
    const all = await attempts(near);
    await near.run('systemctl stop clients');
    await inSession('select pg_is_in_recovery();', 't');

    const after = later(all, 0);
    const first = after.find(({ server }) => server === 'standby');
    const slowest = Math.max(...after.map(({ took }) => took));
    console.log(
      `the standby has answered ${first && first.began + first.took - lostAt} ms after the loss; ${after.length} connections since then, the slowest in ${slowest} ms`,
    );
    // It is not only those that begin after the time that is promised.
    assert.equal([...new Set(after.map(({ server }) => server))], ['standby']);
    assert.match(await near.journal('-u', 'wormhole-5432.service'), /tail primary(:| does not serve:)/);
  });

  test('the standby takes over, has all that was committed, and keeps its clients when the other machine returns', async () => {
    const { near, primary, standby } = at();
    // The former primary must not get clients again.
    await succeeds(near, 'drain 5432 primary');
    await standby.run('pg_ctlcluster 15 main promote');
    await inSession('select pg_is_in_recovery();', 'f');
    assert.is(
      await query(near, 'insert into entries values ($$after$$); select line from entries order by 1'),
      'after\nbefore',
    );
    await primary.setCable('up');
    await primary.start();
    await near.waitFor(async () => (await primary.run('pg_lsclusters -h')).stdout.includes(' online '), {
      what: 'the former primary to run',
    });
    for (let n = 0; n < 3; n++) assert.is(await query(near, 'show cluster_name'), 'standby');
    await inSession('select count(*) from entries;', '2');
  });

  test('deleting leaves nothing', async () => {
    const { near, primary, standby } = at();
    await near.run('systemctl stop session');
    await succeeds(near, 'delete 5432');
    await succeeds(standby, 'delete 5433');
    await allGone(near, primary, standby);
  });
});
