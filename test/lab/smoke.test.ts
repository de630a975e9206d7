import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { boot, type Host } from './rig/host.ts';
import { sessionDirectory, sessionName } from './rig/session.ts';
import { run, start } from './rig/shell.ts';
import { waitFor } from './rig/wait.ts';
import { labSuite } from './suite.ts';

const answers = (host: Host, name: string) =>
  host.waitFor(
    async () =>
      (await host.container(name).runInNetwork('mysql -u root -h 127.0.0.1 -Ne "select 6 * 7"')).stdout,
    { what: `the database of ${name}` },
  );

async function rejects(promise: Promise<unknown>, message: string): Promise<void> {
  const outcome = await promise.catch((error: Error) => error);
  assert.instance(outcome, Error);
  assert.match((outcome as Error).message, message);
}

/** What this process has on the machine for a host of that name: processes, mounts, namespaces, groups, files. */
function leftovers(host: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      // Throws for a process that has ended, or was killed and waits for its parent to notice.
      readlinkSync(`/proc/${pid}/exe`);
      if (readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`/${sessionName}/${host}`)) found.push(pid);
    } catch {
      // Not a process any more.
    }
  }
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  found.push(...mounts.filter((line) => line.includes(`${sessionName}-${host}`)));
  found.push(...mounts.filter((line) => line.includes(join(sessionDirectory, host))));
  for (const path of [`/run/netns/${sessionName}-${host}`, join(sessionDirectory, host)]) {
    if (existsSync(path)) found.push(path);
  }
  return found;
}

labSuite(
  'the lab',
  () => boot({ name: 'box' }),
  (test, at) => {
    test('a host runs systemd, and the Node and the repository of the tests', async () => {
      const host = at();
      assert.is((await host.run('systemctl is-system-running')).stdout, 'running\n');
      assert.is((await host.run(['hostname'])).stdout, 'box\n');
      assert.is((await host.run('node --version')).stdout, `${process.version}\n`);
      assert.is(
        (await host.run('cat /src/wormhole/package.json')).stdout,
        readFileSync('package.json', 'utf8'),
      );
      assert.is.not((await host.run('touch /src/wormhole/x', { check: false })).status, 0);
    });

    test('run reports output, status and failure, and ends what takes too long', async () => {
      const host = at();
      const result = await host.run('cat; echo warning >&2; exit 3', { input: 'in', check: false });
      assert.equal(result, { stdout: 'in', stderr: 'warning\n', status: 3 });
      await rejects(host.run('exit 3'), 'exit status 3: box# exit 3');
      await rejects(host.run('sleep 1234', { timeout: 0.5 }), 'no end after 1.5 s: box# sleep 1234');
      await host.waitFor(() => host.run('! pgrep -x sleep'), {
        timeout: 5,
        what: 'sleep to have been killed',
      });
    });

    test('a command beside the test is fed, read and stopped', async () => {
      const cat = at().spawn('cat');
      cat.write('one\n');
      await at().waitFor(() => cat.stdout() === 'one\n', { what: 'cat to answer' });
      assert.is((await cat.stop()).stdout, 'one\n');
    });

    test('a database in a container without a network answers in its namespace only', async () => {
      const host = at();
      await host.run('docker run -d --name db --restart always --network none wormhole/mysql');
      assert.is(await answers(host, 'db'), '42\n');
      assert.is((await host.run('nc -z 127.0.0.1 3306', { check: false })).status, 1);
    });

    test('WordPress shows its installation page when it reaches its database', async () => {
      const host = at();
      await host.run('docker run -d --name blog --network none wormhole/wordpress');
      const page = () =>
        host.container('blog').runInNetwork('curl -sL --max-time 9 http://127.0.0.1/wp-admin/install.php');
      await host.waitFor(async () => (await page()).stdout.includes('Error establishing a database'), {
        what: 'WordPress to miss its database',
      });
      await host.run(
        'docker rm -f blog; docker run -d --name blog --network container:db wormhole/wordpress',
      );
      const db = host.container('db');
      await host.waitFor(
        () => db.runInNetwork('curl -sfL http://127.0.0.1/wp-admin/install.php | grep "Install WordPress"'),
        {
          what: 'the installation page',
        },
      );
    });

    test('after a reboot and after a power cut, containers with a restart policy are back', async () => {
      const host = at();
      const id = async () => (await host.run('cat /proc/sys/kernel/random/boot_id /proc/1/stat')).stdout;
      const before = await id();
      await host.reboot();
      assert.is.not(await id(), before);
      assert.is(await answers(host, 'db'), '42\n');
      await host.crash();
      await rejects(host.run('true'), 'box is off');
      await host.start();
      assert.is(await answers(host, 'db'), '42\n');
    });

    test('two hosts reach each other by name, and nothing else', async () => {
      const host = at();
      const other = await boot({ name: 'other', docker: false });
      await host.run('ping -c 1 -w 30 other');
      await other.run('ping -c 1 -w 30 -6 box');
      assert.is((await host.run('ping -c 1 -W 1 192.0.2.1', { check: false })).status, 1);
      assert.is((await other.run('command -v docker dockerd', { check: false })).stdout, '');
      await other.setCable('down');
      assert.is((await host.run('ping -c 1 -W 1 other', { check: false })).status, 1);
      await other.setCable('up');
      await host.waitFor(() => host.run('ping -c 1 -W 1 other'), { what: 'the mended cable' });
      await other.powerOff();
    });

    test('files are copied in and out', async () => {
      const host = at();
      const directory = mkdtempSync(join(tmpdir(), 'lab-'));
      try {
        await host.copyIn('src', '/root/copy');
        assert.is((await host.run('diff -r /src/wormhole/src copy/src')).stdout, '');
        await host.run('head -c 1M /dev/urandom > blob');
        await host.copyOut('/root/blob', directory);
        await host.run('cmp - blob', { input: readFileSync(join(directory, 'blob')) });
      } finally {
        rmSync(directory, { recursive: true });
      }
    });

    test('several processes that open at once remove what a dead one has left, and leave each other alone', async () => {
      const dead = `lab-${process.pid}.1`;
      const group = `${dead}/machine`;
      await run([
        ...['unshare', '--mount', '--propagation=private', 'sh', '-ec'],
        `mount -t cgroup2 cgroup2 /sys/fs/cgroup
        cd /sys/fs/cgroup
        for part in 1 2 3 4 5 6 7 8; do
          mkdir -p "${group}/$part"
          sh -c 'echo $$ > "$1/cgroup.procs"; exec setsid sleep 100' sh "${group}/$part" </dev/null >/dev/null 2>&1 &
        done
        wait_until=$(($(date +%s) + 60))
        until [ "$(cat ${group}/*/cgroup.procs | wc -l)" = 8 ]; do [ "$(date +%s)" -lt $wait_until ]; sleep 0.05; done`,
      ]);
      // By this it is found. Any other test that begins may remove it from now on.
      mkdirSync(join(dirname(sessionDirectory), dead));
      const session = `
        import { existsSync } from 'node:fs';
        import { openSession, sessionDirectory } from './test/lab/rig/session.ts';
        openSession();
        process.stdin.on('end', () => console.log(existsSync(sessionDirectory))).resume();
        console.log('open');
      `;
      const script = [process.execPath, '--import', 'tsx', '--input-type=module', '--eval', session];
      const processes = [1, 2, 3, 4].map(() => start(script));
      await waitFor(() => processes.every((each) => each.stdout() !== '' || each.stderr() !== ''), {
        what: 'the sessions to open',
      });
      for (const each of processes) each.end();
      for (const each of processes) {
        const { stdout, stderr, status } = await each.exited;
        assert.equal({ stdout, stderr, status }, { stdout: 'open\ntrue\n', stderr: '', status: 0 });
      }
      assert.not.ok(existsSync(join(dirname(sessionDirectory), dead)));
    });

    test('power off leaves nothing behind', async () => {
      const host = await boot({ name: 'brief', images: false });
      await host.run('docker info');
      assert.ok(leftovers('brief').length > 0);
      await host.powerOff();
      assert.equal(leftovers('brief'), []);
    });
  },
);
