import * as assert from 'uvu/assert';
import { addDigest } from '../../src/units/digest.ts';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Each finding of `wormhole doctor`, produced on purpose; what --fix repairs; and machines with nothing wrong. */

const UNITS = '/etc/systemd/system';
const KEY = '/etc/wormhole/key.secret';

/** A tunnel as its unit tells it, which a kernel without IPsec could not be given. */
const TUNNEL = `[Service]
Type=oneshot
ExecStart=true

[X-Wormhole]
Tunnel=0123456789abcdef
Peer=patient
PeerMachine=${'0'.repeat(32)}
Address=10.90.0.98
PeerAddress=10.90.0.99
Local=100.64.0.1
Remote=100.64.0.2
Mode=esp
Asked=yes
KeyFile=${KEY}
`;

labSuite(
  'doctor',
  () => installedHost({ name: 'patient' }),
  (test, at) => {
    test('a machine without links has nothing wrong, with Docker stopped too', async () => {
      const host = at();
      await healthy(host);
      await host.run('systemctl stop docker.socket docker');
      await healthy(host);
      assert.is((await host.run('systemctl is-active docker', { check: false })).stdout, 'inactive\n');
      await host.run('systemctl start docker');
    });

    test('what is fine is not mentioned: links of every kind, asleep, stopped and open', async () => {
      const host = at();
      await host.run(
        'docker run -d --name box --network none wormhole/tools socat -t 20 TCP-LISTEN:7000,fork,reuseaddr EXEC:cat',
      );
      await host.run('ip netns add blue && ip netns exec blue ip link set lo up');
      await succeeds(host, 'create id plain url :9000 tail url :7000 docker-ns box');
      await succeeds(host, 'create id ns url blue@:9000 tail url :7000 docker-ns box');
      await succeeds(
        host,
        "create id asleep url :9001 trigger url :7000 docker-run 'wormhole/tools sleep infinity'",
      );
      await succeeds(host, 'create id stopped url :9002 tail url :7000');
      await succeeds(host, 'stop stopped');
      await healthy(host);
      assert.is((await host.run('echo here | nc -N 127.0.0.1 9000')).stdout, 'here\n');
      await healthy(host);
    });

    test('modes of keys: --fix sets them', async () => {
      const host = at();
      await host.run(`chmod 644 ${KEY}; chmod 640 /var/lib/wormhole/identity.secret 2>/dev/null || true`);
      await finds(
        host,
        /^\/etc\/wormhole\/key\.secret: its mode is 0644: other users can read it, so it is not used: chmod 600 /m,
      );
      await repairs(host, /^repaired: \/etc\/wormhole\/key\.secret: set its mode to 0600$/m);
      assert.is((await host.run(`stat -c %a ${KEY}`)).stdout, '600\n');
      await host.run(`cp ${KEY} /root/key; echo word > ${KEY}; systemctl enable wormholed-tcp.socket`);
      await finds(
        host,
        /^\/etc\/wormhole\/key\.secret, line 1: it has 24 bits only, and the key is not used: .*openssl rand -hex 32/m,
      );
      await host.run(`mv ${KEY} /root/word`);
      await finds(host, /^\/etc\/wormhole\/key\.secret: the file is missing: copy it/m);
      await host.run(`install -m 600 /root/key ${KEY}`);
      await healthy(host);
    });

    test('units that another version has written are written again; edited ones are left', async () => {
      const host = at();
      const file = `${UNITS}/wormhole-plain.service`;
      const original = (await host.run(`cat ${file}`)).stdout;
      const older = addDigest(
        original.replace(/^Digest=.*\n/m, '').replace(/^WatchdogSec=.*$/m, 'WatchdogSec=7s'),
      );
      await write(host, file, older);
      await host.run('systemctl daemon-reload');
      await finds(host, /^wormhole-plain\.service: it is not as this version writes it: wormhole upgrade/m);
      await repairs(host, /^repaired: wrote again: wormhole-plain\.service$/m);
      assert.is((await host.run(`cat ${file}`)).stdout, original);

      await host.run(`sed -i s/^WatchdogSec=.*/WatchdogSec=5s/ ${file}; systemctl daemon-reload`);
      const edited =
        /^wormhole-plain\.service: somebody has edited it, .*: move the change to systemctl edit/m;
      await finds(host, edited);
      const { stdout, status } = await wormhole(host, 'doctor --fix');
      assert.match(stdout, edited);
      assert.is(status, 1);
      assert.match((await host.run(`cat ${file}`)).stdout, /^WatchdogSec=5s$/m);
      await write(host, file, original);
      await finds(
        host,
        /^wormhole-plain\.service: it, or a drop-in of it, has changed since systemd read it: systemctl daemon-reload$/m,
      );
      await repairs(host, /^repaired: made systemd read all units again$/m);

      const socket = `${UNITS}/wormhole-plain.socket`;
      const recipe = (await host.run(`cat ${socket}`)).stdout;
      await host.run(`sed -i s/^Recipe=.*/Recipe=nonsense/ ${socket}; systemctl daemon-reload`);
      await finds(
        host,
        /^link plain: \[X-Wormhole\] cannot be read: .*nonsense.*: wormhole delete plain, or restore/m,
      );
      await write(host, socket, recipe);
      await host.run('systemctl daemon-reload');

      await host.run(`rm ${file}`);
      await finds(host, /^wormhole-plain\.service: its file is missing: /m);
      await repairs(host, /^repaired: wrote again: wormhole-plain\.service$/m);
      assert.is((await host.run('echo here | nc -N 127.0.0.1 9000')).stdout, 'here\n');
    });

    test('a link that should listen is started; a port that another program has is only named', async () => {
      const host = at();
      await host.run('systemctl stop wormhole-plain.socket');
      await finds(
        host,
        /^link plain: it should listen, and wormhole-plain\.socket is inactive: systemctl start/m,
      );
      await repairs(host, /^repaired: link plain: started wormhole-plain\.socket$/m);
      assert.is((await host.run('echo here | nc -N 127.0.0.1 9000')).stdout, 'here\n');

      await host.run('systemctl stop wormhole-plain.socket');
      await host.run('systemd-run --unit thief socat TCP-LISTEN:9000,bind=127.0.0.1,fork EXEC:cat');
      await host.waitFor(async () => (await host.run('ss -Hltn sport = :9000')).stdout !== '', {
        what: 'the thief',
      });
      await host.run('systemctl start wormhole-plain.socket', { check: false });
      const taken =
        /^link plain: it does not listen: socat \(pid \d+\) has 127\.0\.0\.1:9000 on this host: stop that program/m;
      await finds(host, taken);
      assert.match((await wormhole(host, 'doctor --fix')).stdout, taken);
      await host.run('systemctl stop thief');
      await repairs(host, /^repaired: link plain: started wormhole-plain\.socket$/m);
    });

    test('another socket unit on the same address is a conflict at the next boot', async () => {
      const host = at();
      await write(
        host,
        `${UNITS}/rival.socket`,
        '[Socket]\nListenStream=9000\nAccept=yes\n[Install]\nWantedBy=sockets.target\n',
      );
      await write(host, `${UNITS}/rival@.service`, '[Service]\nExecStart=cat\nStandardInput=socket\n');
      await host.run('systemctl daemon-reload; systemctl enable rival.socket');
      await finds(
        host,
        /^wormhole-plain\.socket: rival\.socket is enabled too and listens on the same address, 127\.0\.0\.1:9000: /m,
      );
      await host.run(`systemctl disable rival.socket; rm ${UNITS}/rival*; systemctl daemon-reload`);
      await healthy(host);
    });

    test('Docker that is stopped, and containers and namespaces that are gone', async () => {
      const host = at();
      await host.run('systemctl stop docker.socket docker');
      await finds(
        host,
        /^the Docker engine: docker\.service is inactive, and link \w+ needs it: systemctl start docker$/m,
      );
      await host.run('systemctl start docker; docker start box');
      await host.waitFor(async () => (await wormhole(host, 'doctor')).status === 0, {
        what: 'links to follow',
        timeout: 30,
      });
      await host.run('docker stop -t 0 box');
      await finds(
        host,
        /^container box: .*not running, and link ns, plain|^container box: .*not running, and link plain, ns/m,
      );
      await host.run('docker start box; ip netns del blue');
      await finds(
        host,
        /^netns blue: there is no network namespace "blue", and link ns waits for it: ip netns add blue$/m,
      );
      await host.run('ip netns add blue');
      await host.waitFor(async () => (await wormhole(host, 'doctor')).status === 0, {
        what: 'links to follow',
        timeout: 30,
      });
    });

    test('containers of links that do not exist: --fix removes ours, and nobody else’s', async () => {
      const host = at();
      await succeeds(
        host,
        "create id gone url :9003 tail url :7000 docker-run 'wormhole/tools socat TCP-LISTEN:7000,fork EXEC:cat'",
      );
      await host.run(
        `systemctl disable wormhole-gone.socket wormhole-gone-run.service; systemctl stop wormhole-gone.socket wormhole-gone.service wormhole-gone-run.service; rm ${UNITS}/wormhole-gone*; systemctl daemon-reload; systemctl reset-failed; rm -f /run/wormhole/counters/gone /var/lib/wormhole/runs/gone`,
      );
      await host.run('docker start wormhole-gone-netns wormhole-gone');
      await host.run(
        'docker run -d --name liar --label wormhole.link=gone --label wormhole.run=gone --label wormhole.role=container wormhole/tools sleep infinity',
      );
      const liar =
        /^container liar: it has the label of link gone, .*none that Wormhole has made: docker rm liar/m;
      await finds(
        host,
        /^container wormhole-gone: link gone, which it was made for, does not exist: docker rm -f wormhole-gone$/m,
      );
      const { stdout } = await wormhole(host, 'doctor --fix');
      assert.match(stdout, /^repaired: container wormhole-gone: removed/m);
      assert.match(stdout, /^repaired: container wormhole-gone-netns: removed/m);
      assert.match(stdout, liar);
      assert.is((await host.run('docker ps -a --format {{.Names}} | sort')).stdout, 'box\nliar\n');
      await host.run('docker rm -f liar');
      await healthy(host);
    });

    test('a create that was killed midway is taken back', async () => {
      const host = at();
      // It waits for a container that does not get ready.
      await host.run(
        "printf 'FROM wormhole/tools\\nHEALTHCHECK --interval=1s --timeout=400s CMD sleep 300\\n' | docker build -q -t slow -",
      );
      await host.run(`
        wormhole create id half url :9004 tail url :7000 docker-run slow & pid=$!
        until docker inspect -f '{{.Config.Image}} {{.State.Running}}' wormhole-half 2>&1 | grep -qx 'slow true'
          do kill -0 $pid || exit; sleep 0.1; done
        test -e ${UNITS}/wormhole-half.socket && test -e /run/wormhole/unfinished/half || exit
        kill -KILL $pid
        wait $pid; [ $? = 137 ]`);
      await finds(host, /^link half: it is half created or half deleted, by a command that was killed: /m);
      await repairs(host, /^repaired: took back what killed commands had left$/m);
      assert.is((await host.run(`ls ${UNITS} | grep half`, { check: false })).stdout, '');
    });

    test('clients that were not served, faulty files, missing parts of the program, and units that have failed', async () => {
      const host = at();
      await succeeds(host, 'create id wrong url :9005 tail url :7999');
      await host.run('nc -w 60 127.0.0.1 9005 </dev/null', { check: false });
      await host.waitFor(
        async () =>
          /^link wrong: its last client was closed since .*refused/m.test(
            (await wormhole(host, 'doctor')).stdout,
          ),
        { what: 'the finding' },
      );
      await succeeds(host, "create id ends url :9006 trigger url :7000 docker-run 'wormhole/tools false'");
      await host.run('nc -w 120 127.0.0.1 9006 </dev/null', { check: false, timeout: 150 });
      await finds(
        host,
        /^link ends: its container cannot be started, and clients are closed: journalctl -u wormhole-ends-run\.service/m,
      );
      await succeeds(host, 'delete ends');
      await succeeds(host, 'delete wrong');
      await write(host, '/etc/wormhole/links.d/bad.wormhole', '[Link]\nRecipe=url :1 tial\n');
      await finds(host, /^\/etc\/wormhole\/links\.d\/bad\.wormhole:2: .*tial.*: correct the file/m);
      await host.run('rm /etc/wormhole/links.d/bad.wormhole');
      await host.run(
        'mv /usr/local/lib/wormhole/dist/forwarder.cjs /root/; mv /var/lib/wormhole/root /var/lib/wormhole/root.away',
      );
      await finds(
        host,
        /^\/usr\/local\/lib\/wormhole\/dist\/forwarder\.cjs: the file is missing, .*: run install\.sh/m,
      );
      await host.run('mv /root/forwarder.cjs /usr/local/lib/wormhole/dist/');
      await repairs(host, /^repaired: made \/var\/lib\/wormhole\/root$/m);
      await host.run('rm -rf /var/lib/wormhole/root.away; systemctl stop wormhole-sync.path');
      await finds(host, /^wormhole-sync\.path: it is inactive: links do not follow containers/m);
      await repairs(host, /^repaired: started wormhole-sync\.path$/m);
      await host.run(
        `mkdir -p ${UNITS}/wormhole-counters-save.service.d; printf '[Service]\\nExecStart=\\nExecStart=false\\n' > ${UNITS}/wormhole-counters-save.service.d/f.conf; systemctl daemon-reload; systemctl start wormhole-counters-save.service`,
        { check: false },
      );
      await finds(host, /^wormhole-counters-save\.service: it has failed: journalctl -u/m);
      await host.run(
        `rm -r ${UNITS}/wormhole-counters-save.service.d; systemctl daemon-reload; systemctl reset-failed wormhole-counters-save.service`,
      );
      await healthy(host);
    });

    test('a kernel without an inotify instance left', async () => {
      const host = at();
      // The limit is that of this machine and all its hosts, so the call fails for this command alone, as it does at the limit.
      const limited =
        'systemd-run --quiet --pipe --wait -p SystemCallFilter=~inotify_init1:EMFILE wormhole doctor';
      const { stdout, stderr } = await host.run(limited, { check: false });
      const line =
        /^fs\.inotify\.max_user_instances: there is no inotify instance left for root: .*: sysctl -w fs\.inotify/m;
      assert.ok(line.test(stdout), `${stdout}${stderr}`);
    });

    test('as JSON, and what makes no sense', async () => {
      const host = at();
      assert.equal(JSON.parse(await succeeds(host, 'doctor --json')), { findings: [], repaired: [] });
      await host.run(`chmod 644 ${KEY}`);
      const { stdout, status } = await wormhole(host, 'doctor --json');
      const { findings } = JSON.parse(stdout);
      assert.is(findings.length, 1);
      assert.is(findings[0].check, 'keys');
      assert.is(findings[0].subject, KEY);
      assert.is(findings[0].fixable, true);
      assert.is(status, 1);
      const { repaired } = JSON.parse(await succeeds(host, 'doctor --fix --json'));
      assert.match(repaired[0].done, /set its mode to 0600/);
      const remote = await wormhole(host, '-H localhost doctor');
      assert.match(remote.stderr, /^wormhole: doctor acts only on this machine: run it there, without -H/);
      assert.is(remote.status, 2);
      const nobody = await host.run('setpriv --reuid nobody --regid nogroup --clear-groups wormhole doctor', {
        check: false,
      });
      assert.is(nobody.stderr, 'wormhole: this needs root: sudo wormhole doctor\n');
    });

    test('a machine without Docker: links of its own need none, and a tunnel needs the kernel for it', async () => {
      const host = await installedHost({ name: 'bare', docker: false });
      await healthy(host);
      await succeeds(host, 'create id plain url :9000 tail url :7000');
      await healthy(host);
      await host.run(`ln -s key ${KEY}.new && mv ${KEY} /etc/wormhole/key && mv ${KEY}.new ${KEY}`);
      await healthy(host);
      await host.run('chmod 644 /etc/wormhole/key');
      const linked = /^\/etc\/wormhole\/key\.secret: its mode is 0644/m;
      await finds(host, linked);
      const { stdout } = await wormhole(host, 'doctor --fix');
      assert.ok(linked.test(stdout), stdout);
      assert.not.match(stdout, /repaired/);
      await host.run('chmod 600 /etc/wormhole/key');
      await write(host, `${UNITS}/wormhole-tunnel@patient.service`, TUNNEL);
      const hasIpsec =
        (await host.run('unshare --net ip link add t type xfrm if_id 1', { check: false })).status === 0;
      const found = (await wormhole(host, 'doctor')).stdout;
      assert.ok(/^wormhole-tunnel@patient\.service: another version has written it/m.test(found), found);
      assert.ok(/^machine patient: the keys of this machine and \S+ differ/m.test(found), found);
      if (hasIpsec) assert.ok(/^the tunnel to patient: it is down/m.test(found), found);
      else assert.ok(/^the kernel \S+: .*cannot carry tunnels, it lacks .*modprobe -a/m.test(found), found);
      await host.powerOff();
    });

    test('nothing of this is left', async () => {
      const host = at();
      await succeeds(host, 'delete --all');
      await host.run('docker rm -f box; ip netns del blue');
      await leavesNothing(host);
      await healthy(host);
    });
  },
);

/** Nothing is wrong, and that is all that is said. */
async function healthy(host: Host): Promise<void> {
  const { stdout, stderr, status } = await wormhole(host, 'doctor');
  assert.equal([stdout, stderr, status], ['nothing wrong\n', '', 0]);
}

async function finds(host: Host, line: RegExp): Promise<void> {
  const { stdout, stderr, status } = await wormhole(host, 'doctor');
  assert.ok(line.test(stdout), `${line} is not in:\n${stdout}`);
  assert.is(stderr, '');
  assert.is(status, 1);
}

/** --fix says that it has done it, and nothing is wrong then. */
async function repairs(host: Host, line: RegExp): Promise<void> {
  const { stdout, stderr, status } = await wormhole(host, 'doctor --fix');
  assert.ok(line.test(stdout), `${line} is not in:\n${stdout}`);
  assert.ok(/^nothing wrong$/m.test(stdout), stdout);
  assert.is(stderr, '');
  assert.is(status, 0);
  await healthy(host);
}

async function write(host: Host, path: string, text: string): Promise<void> {
  await host.run(['sh', '-c', 'printf %s "$1" > "$2"', 'sh', text, path]);
}
