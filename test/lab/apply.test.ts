import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { startNamedServers } from './named-servers.ts';
import { hasNotedSessions } from './noted-sessions.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Links that files describe: apply and export. */

const LINKS = '/etc/wormhole/links.d';
const MANY = 300;

/** The examples of the README that need one machine alone, each as a file. */
const EXAMPLES: Record<string, string> = {
  '3306': '[Link]\nRecipe=url :3306 docker-ns tail docker-ns mysql\n',
  '3306-app': '[Link]\nRecipe=url :3306 docker-ns app tail docker-ns mysql\n',
  '80': `# Nothing runs until someone connects.
[Link]
Idle=30s
Recipe=url :80 trigger docker-run wormhole/wordpress \\
; a comment does not end the line
       child url :3306 trigger docker-run wormhole/mysql
`,
  '8080': `[Link]
Recipe=url 0.0.0.0:8080 idle 5m
Recipe=trigger url :80 docker-run "--memory 256m -v www:/usr/share/nginx/html wormhole/tools"
`,
  '9000': '[Link]\nRecipe=url :9000 chain url :9001 tail url :9002\n',
  dns: '[Link]\nRecipe=url udp://:53 url tcp:// tail docker-ns mysql\n',
  mysql: `[Link]
Recipe=url unix:///run/mysql.sock tail url tcp://:3306 docker-ns mysql
Mode=0660
Owner=:mysql
`,
  '5432': '[Link]\nRecipe=url :5432 docker-ns app tail url unix:///run/postgresql/.s.PGSQL.5432\n',
  '514': '[Link]\nRecipe=url udp://:514 docker-ns app tail url unixgram:///dev/log\n',
  web: '[Link]\nRecipe=url [::1]:8081 tail url blue@:80\n',
};

labSuite(
  'links that files describe',
  async () => {
    const host = await installedHost({ name: 'apply' });
    await host.run('docker run -d --network none --name mysql wormhole/mysql');
    await host.run('docker run -d --network none --name app wormhole/tools sleep infinity');
    await host.run('ip netns add blue && groupadd mysql && mkdir -p /run/postgresql');
    await startNamedServers(host);
    return host;
  },
  (test, at) => {
    test('every example of the README as a file, and the second time nothing', async () => {
      const host = at();
      for (const [name, text] of Object.entries(EXAMPLES)) await write(host, name, text);
      const dry = await succeeds(host, 'apply --dry-run');
      assert.match(
        dry,
        /^\+Recipe=url tcp:\/\/127\.0\.0\.1:9000 \\\n\+ {7}chain id 9000-9001 url tcp:\/\/127\.0\.0\.1:9001 \\$/m,
      );
      assert.match(dry, /^would create link 9000$/m);
      assert.is(await succeeds(host, 'list --json'), '[]');
      const out = await succeeds(host, 'apply');
      for (const name of Object.keys(EXAMPLES)) assert.match(out, new RegExp(`^created link ${name} `, 'm'));
      assert.is(await succeeds(host, 'apply'), '');
      assert.is(await succeeds(host, 'apply --dry-run --prune'), '');
      assert.match(
        (await host.run('systemctl cat wormhole-80.socket')).stdout,
        /^File=.*links\.d\/80\.wormhole$/m,
      );
      const links = JSON.parse(await succeeds(host, 'list --json'));
      const recipe = links.find(({ id }: { id: string }) => id === '80').recipe;
      assert.match(
        recipe,
        /^id 80 idle 30s url tcp:\/\/127\.0\.0\.1:80 trigger .* child id 80-3306 idle 30s /,
      );
      assert.is((await host.run('stat -c %a:%G /run/mysql.sock')).stdout, '660:mysql\n');
    });

    test('export, delete, apply: the units are the same; also those of links that were typed', async () => {
      const host = at();
      await succeeds(host, 'create --start-timeout 2m id typed url :4004 tail url :4100');
      await succeeds(
        host,
        `create id secret url :4005 trigger docker-run "-e 'MARK=a  b%c\\"' wormhole/tools"`,
      );
      const before = await digests(host);
      await host.run('mkdir /root/all');
      await succeeds(host, 'export -o /root/all');
      const stream = (await wormhole(host, 'export')).stdout;
      await host.run('tee /root/stream', { input: stream });
      for (const way of ['-f /root/all', '-f - </root/stream']) {
        await wormhole(host, 'delete --all');
        assert.is(await succeeds(host, 'list --json'), '[]');
        await succeeds(host, `apply ${way}`);
        assert.is(await digests(host), before, way);
        assert.is(await succeeds(host, `apply ${way}`), '', way);
      }
      await host.run('rm -r /root/all');
      await succeeds(host, 'delete secret');
    });

    test('an unchanged link keeps its sessions; of one whose tail changes, the socket stays', async () => {
      const host = at();
      await write(host, 'same', '[Link]\nRecipe=url :4001 tail url :4100\n');
      await write(host, 'other', '[Link]\nRecipe=url :4002 tail url :4100\n');
      await write(host, 'head', '[Link]\nRecipe=url :4003 tail url :4100\n');
      await succeeds(host, 'apply');
      const sessions = [4001, 4002].map((port) => host.spawn(`socat - TCP:127.0.0.1:${port}`));
      for (const session of sessions) {
        session.write('x\n');
        await host.waitFor(() => session.stdout() === 'one x\n', { timeout: 20, what: 'the session' });
      }
      for (const id of ['same', 'other']) await hasNotedSessions(host, id);
      const inodes = "ss -Hltne '( sport = :4001 or sport = :4002 )' | grep -o 'ino:[0-9]*' | sort";
      const before = (await host.run(inodes)).stdout;
      const pid = 'systemctl show -P MainPID wormhole-same.service';
      const forwarder = (await host.run(pid)).stdout;
      await write(host, 'other', '[Link]\nRecipe=url :4002 tail url :4200\n');
      await write(host, 'head', '[Link]\nRecipe=url :4006 tail url :4100\n');
      const out = await succeeds(host, 'apply');
      assert.match(
        out,
        /^- {7}tail url tcp:\/\/127\.0\.0\.1:4100\n\+ {7}tail url tcp:\/\/127\.0\.0\.1:4200$/m,
      );
      assert.match(out, /^changed link other /m);
      assert.match(out, /^changed link head tcp:\/\/127\.0\.0\.1:4006$/m);
      assert.not.match(out, /link same/);
      assert.is((await host.run(inodes)).stdout, before);
      assert.is((await host.run(pid)).stdout, forwarder);
      for (const session of sessions) {
        session.write('y\n');
        await host.waitFor(() => session.stdout() === 'one x\none y\n', { timeout: 20, what: 'the session' });
        session.end();
        await session.exited;
      }
      assert.is((await host.run('echo z | nc -N 127.0.0.1 4002')).stdout, 'two z\n');
      assert.is((await host.run('echo z | nc -N 127.0.0.1 4006')).stdout, 'one z\n');
    });

    test('links exchange their ports', async () => {
      const host = at();
      await write(host, 'same', '[Link]\nRecipe=url :4002 tail url :4100\n');
      await write(host, 'other', '[Link]\nRecipe=url :4001 tail url :4200\n');
      await succeeds(host, 'apply');
      assert.is((await host.run('echo z | nc -N 127.0.0.1 4001')).stdout, 'two z\n');
      assert.is((await host.run('echo z | nc -N 127.0.0.1 4002')).stdout, 'one z\n');
    });

    test('lines for the units become drop-ins, also those of the directory beside it, and go again', async () => {
      const host = at();
      await write(
        host,
        'same',
        '[Link]\nRecipe=url :4002 tail url :4100\n[Service]\nMemoryMax=100M\n[Socket]\nBacklog=7\n',
      );
      await host.run(`mkdir ${LINKS}/same.wormhole.d`);
      await host.run(`tee ${LINKS}/same.wormhole.d/10.conf`, {
        input: '[Unit]\nDescription=Mine, all \\\n  mine\n[Link]\nRecipe=\nRecipe=url :4002 tail url :4200\n',
      });
      assert.match(await succeeds(host, 'apply'), /^\+MemoryMax=100M$/m);
      const show =
        'systemctl show -P MemoryMax -P Description wormhole-same.service; systemctl show -P Backlog -P Description wormhole-same.socket';
      const shown = (await host.run(show)).stdout;
      assert.match(shown, /104857600/);
      assert.match(shown, /^7$/m);
      assert.match(shown, /Mine, all {2,4}mine/);
      assert.is((await host.run('echo z | nc -N 127.0.0.1 4002')).stdout, 'two z\n');
      await write(host, 'same', '[Link]\nRecipe=url :4002 tail url :4100\n');
      await host.run(`rm -r ${LINKS}/same.wormhole.d`);
      await succeeds(host, 'apply');
      assert.not.match((await host.run(show)).stdout, /104857600|Mine/);
      assert.match((await host.run(show)).stdout, /^4096$/m);
    });

    test('bad files change nothing of their links, name their lines and no secret, and the others are applied', async () => {
      const host = at();
      const before = await digests(host);
      await write(host, 'same', '[Link]\nRecipe=url :4002 tial url :4200\n');
      await write(host, 'other', '[Link]\nRecipe=url :4001 tail url :4200\nPul=never\n');
      await write(
        host,
        'head',
        `[Link]\nRecipe=url :4006 trigger docker-run\n  "-e TOKEN=hunter2 --oops x"\n`,
      );
      await write(host, 'taken', '[Link]\n\nRecipe=url :9000 tail url :4200\n');
      await write(host, 'busy', '[Link]\nRecipe=url :4100 tail url :4200\n');
      await write(host, 'good', '[Link]\nRecipe=url :4010 tail url :4200\n');
      await write(host, 'secret', '[Link]\nRecipe=url :4011 trigger docker-run "--bad -e TOKEN=hunter2 x"\n');
      const { stdout, stderr, status } = await wormhole(host, 'apply');
      assert.is(status, 1);
      assert.match(stdout, /^created link good tcp:\/\/127\.0\.0\.1:4010$/m);
      assert.match(
        stderr,
        /^wormhole: \/etc\/wormhole\/links\.d\/same\.wormhole:2: word 3, "tial": .*did you mean "tail"\?$/m,
      );
      assert.match(
        stderr,
        /^wormhole: \S+\/other\.wormhole:3: Pul= is not a setting of \[Link\]; did you mean Pull=\?$/m,
      );
      assert.match(stderr, /^wormhole: \S+\/head\.wormhole:3: /m);
      assert.match(
        stderr,
        /^wormhole: \S+\/taken\.wormhole:3: link "9000" listens on 127\.0\.0\.1:9000 already/m,
      );
      assert.match(
        stderr,
        /^wormhole: \S+\/busy\.wormhole:2: 127\.0\.0\.1:4100 on this host is in use already by /m,
      );
      assert.match(stderr, /^wormhole: \S+\/secret\.wormhole:2: docker-run \(word \d\): --bad/m);
      assert.not.match(stdout + stderr, /hunter2/);
      const after = (await digests(host)).split('\n').filter((line) => !line.includes('wormhole-good.'));
      assert.equal(after, before.split('\n'));
      assert.is(
        (await host.run('ls /run/wormhole/unfinished /var/lib/wormhole/former-links')).stdout.replace(
          /^.*:$|\n/gm,
          '',
        ),
        '',
      );
      for (const name of ['taken', 'busy', 'secret']) await remove(host, name);
      await write(host, 'same', '[Link]\nRecipe=url :4002 tail url :4100\n');
      await write(host, 'other', '[Link]\nRecipe=url :4001 tail url :4200\n');
      await write(host, 'head', '[Link]\nRecipe=url :4006 tail url :4100\n');
      assert.is(await succeeds(host, 'apply'), '');
    });

    test('files that others could change are refused', async () => {
      const host = at();
      await write(host, 'good', '[Link]\nRecipe=url :4012 tail url :4200\n');
      for (const [weaken, expected] of [
        ['chmod o+w', /good\.wormhole:1: .*writable by everybody/],
        ['chown nobody', /good\.wormhole:1: .*belongs to user 65534/],
      ] as const) {
        await host.run(`${weaken} ${LINKS}/good.wormhole`);
        await fails(host, 'apply', expected);
        await host.run(`chown root ${LINKS}/good.wormhole; chmod 644 ${LINKS}/good.wormhole`);
      }
      await host.run(
        `mkdir -p /home/alice && chown nobody /home/alice && mv ${LINKS}/good.wormhole /home/alice/ && ln -s /home/alice/good.wormhole ${LINKS}/`,
      );
      await fails(host, 'apply', /what is in \/home\/alice acts as root, and it belongs to user 65534/);
      await host.run(`mv /home/alice/good.wormhole ${LINKS}/`);
      await host.run(`mkfifo ${LINKS}/fifo.wormhole`);
      assert.match(
        (await wormhole(host, 'apply')).stderr,
        /^wormhole: \S+\/fifo\.wormhole:1: this is not a regular file\n$/,
      );
      await remove(host, 'fifo');
      await host.run(`chmod o+w ${LINKS}`);
      await fails(host, 'apply', /links\.d acts as root, and it is writable by everybody/);
      await host.run(`chmod o-w ${LINKS}`);
      await succeeds(host, 'apply');
    });

    test('--prune leaves the link of a file that is a symbolic link to something that is not there now', async () => {
      const host = at();
      // As on a file system that is mounted later than at the first apply of a boot.
      await host.run(`mv ${LINKS}/good.wormhole /root/ && ln -s /root/away/good.wormhole ${LINKS}/`);
      for (const flags of ['--prune --dry-run', '--prune']) {
        const { stdout, stderr, status } = await wormhole(host, `apply ${flags}`);
        assert.is(stdout, '');
        assert.match(stderr, /^wormhole: \S+\/good\.wormhole:1: ENOENT: .*$/m);
        assert.is(status, 1);
      }
      assert.match(await succeeds(host, 'list'), /^good /m);
      await host.run(`mv /root/good.wormhole ${LINKS}/`);
      assert.is(await succeeds(host, 'apply'), '');
    });

    test('--prune deletes what was made from files that are gone, and nothing that was typed', async () => {
      const host = at();
      await remove(host, 'good');
      assert.is(await succeeds(host, 'apply'), '');
      // The file may have got another name, and with it a fault.
      await write(host, 'renamed', '[Link]\nRecipe=id good url :4020 tial url :4200\n');
      const kept = await wormhole(host, 'apply --prune');
      assert.is(kept.status, 1);
      assert.match(
        kept.stderr,
        /^wormhole: link "good" is kept: \S+\/good\.wormhole no longer describes it, but \S+\/renamed\.wormhole has an error and may\. /m,
      );
      assert.match(await succeeds(host, 'list'), /^good /m);
      await remove(host, 'renamed');
      await fails(host, "apply --prune -f ''", /^wormhole: -f "": name a file or a directory/, 2);
      const dry = await wormhole(host, 'apply --prune --dry-run');
      assert.match(dry.stdout, /^would delete link good$/m);
      const { stdout, stderr, status } = await wormhole(host, 'apply --prune');
      assert.is(status, 0);
      assert.match(stdout, /^deleted link good: \/etc\/wormhole\/links\.d\/good\.wormhole is gone$/m);
      assert.match(
        stderr,
        /^wormhole: link "typed" is in no file, and stays: wormhole export typed writes its file/m,
      );
      assert.match(await succeeds(host, 'list'), /^typed /m);
      assert.not.match(await succeeds(host, 'list'), /^good /m);
      await fails(host, `apply --prune -f ${LINKS}/web.wormhole`, /--prune needs a directory/, 2);
    });

    test('a tunnel that cannot be made is one line, and the links are applied', async () => {
      const host = at();
      await write(host, 'tunnel', '[Tunnel]\nHost=nobody.invalid\n[Service]\nNice=3\n');
      await write(host, 'beside', '[Link]\nRecipe=url :4040 tail url :4200\n');
      const dry = await succeeds(host, 'apply --dry-run');
      assert.match(dry, /^\+Host=nobody\.invalid$/m);
      assert.match(dry, /^would create the tunnel to nobody\.invalid$/m);
      const { stdout, stderr, status } = await wormhole(host, 'apply');
      assert.is(status, 1);
      assert.match(stderr, /^wormhole: \S+\/tunnel\.wormhole:2: [^\n]+\n$/);
      assert.match(stdout, /^created link beside /m);
      assert.is((await host.run('ls -d /etc/systemd/system/wormhole-tunnel@*', { check: false })).stdout, '');
      await remove(host, 'tunnel');
      await remove(host, 'beside');
    });

    test('a link that was typed is changed by a file of its name, and belongs to that then', async () => {
      const host = at();
      await write(host, 'typed', '[Link]\nRecipe=url :4004 tail url :4200\n');
      assert.match(await succeeds(host, 'apply'), /^changed link typed /m);
      await remove(host, 'typed');
      assert.match((await wormhole(host, 'apply --prune')).stdout, /^deleted link typed/m);
    });

    test('a link that is deleted by hand: its file is mentioned, and makes it again', async () => {
      const host = at();
      const { stderr } = await wormhole(host, 'delete web');
      assert.match(stderr, /^wormhole: link "web": its file \/etc\/wormhole\/links\.d\/web\.wormhole stays/m);
      assert.match(await succeeds(host, 'apply'), /^created link web /m);
    });

    test('the path unit applies what changes, and its status has the errors', async () => {
      const host = at();
      assert.is(
        (await host.run('systemctl is-enabled wormhole-apply.path', { check: false })).stdout,
        'disabled\n',
      );
      await host.run('systemctl enable --now wormhole-apply.path');
      await write(host, 'auto', '[Link]\nRecipe=url :4020 tail url :4100\n');
      await host.waitFor(
        async () => (await host.run('echo z | nc -N 127.0.0.1 4020', { check: false })).stdout === 'one z\n',
        {
          timeout: 60,
          what: 'the new link',
        },
      );
      await write(host, 'auto', '[Link]\nRecipe=url :4020 tail urk :4100\n');
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-failed wormhole-apply', { check: false })).stdout === 'failed\n',
        {
          timeout: 60,
          what: 'the service to fail',
        },
      );
      await host.run('journalctl --sync');
      const { stdout } = await host.run('systemctl status -l --no-pager wormhole-apply', { check: false });
      assert.match(stdout, /auto\.wormhole:2: word 4, "urk"/);
      const journal = (await host.run('journalctl -o cat -t wormhole-apply')).stdout;
      assert.match(journal, /^created link auto tcp:\/\/127\.0\.0\.1:4020$/m);
      assert.not.match(journal, /Recipe=/);
      assert.is((await host.run('echo z | nc -N 127.0.0.1 4020')).stdout, 'one z\n');
      // A file that changes after the service has read them, and before it has ended.
      const dropIn = '/run/systemd/system/wormhole-apply.service.d';
      await host.run(
        `mkdir ${dropIn} && printf '[Service]\\nExecStartPost=touch /run/has-read\\nExecStartPost=sleep 3\\n' >${dropIn}/slow.conf && systemctl daemon-reload`,
      );
      await write(host, 'auto', '[Link]\nRecipe=url :4020 tail url :4100\n');
      await host.run('until test -e /run/has-read; do sleep 0.1; done', { timeout: 60 });
      await write(host, 'late', '[Link]\nRecipe=url :4021 tail url :4100\n');
      await host.waitFor(async () => /^late /m.test(await succeeds(host, 'list')), {
        timeout: 60,
        what: 'the link of a file that was written while nothing watched',
      });
      await host.run(`rm -r ${dropIn} && systemctl daemon-reload`);
      await remove(host, 'auto');
      await remove(host, 'late');
      await host.waitFor(async () => !/^(auto|late) /m.test(await succeeds(host, 'list')), {
        timeout: 60,
        what: 'the link to go',
      });
      await host.run('systemctl disable --now wormhole-apply.path wormhole-apply.service');
      await host.run('systemctl reset-failed wormhole-apply.service', { check: false });
    });

    test('what systemctl set-property says of a link goes with it, also where a service deletes it', async () => {
      const host = at();
      const setProperties = () =>
        host.run(`systemctl set-property wormhole-props.service MemoryMax=150M
          systemctl set-property --runtime wormhole-props.service CPUWeight=50
          mkdir -p /run/systemd/system/wormhole-props.socket.d
          printf '[Socket]\\nBacklog=9\\n' >/run/systemd/system/wormhole-props.socket.d/mine.conf`);
      const left = async () =>
        (await host.run('find /etc/systemd /run/systemd -name "wormhole-props.*"')).stdout.trim();
      const daemon = '-H unix:///run/wormhole.sock';
      // None of the directories need exist when the daemon starts.
      await host.run('rmdir /etc/systemd/system.control /run/systemd/system.control 2>/dev/null || true');
      await succeeds(host, `${daemon} create id props url :4050 tail url :4100`);
      await setProperties();
      const { stderr, status } = await wormhole(host, `${daemon} delete props`);
      assert.is(status, 0, stderr);
      for (const path of [
        '/etc/systemd/system.control/wormhole-props.service.d/50-MemoryMax.conf',
        '/run/systemd/system.control/wormhole-props.service.d/50-CPUWeight.conf',
        '/run/systemd/system/wormhole-props.socket.d/mine.conf',
      ])
        assert.ok(stderr.includes(`its drop-in ${path} is removed with it`), stderr);
      assert.is(await left(), '');
      await write(host, 'props', '[Link]\nRecipe=url :4050 tail url :4100\n');
      await host.run('systemctl start wormhole-apply.service');
      await setProperties();
      await remove(host, 'props');
      await host.run('systemctl start wormhole-apply.service');
      assert.is(await left(), '');
      assert.not.match(await succeeds(host, 'list'), /^props /m);
    });

    test('create --if-absent: the second time nothing, and a link that differs stays', async () => {
      const host = at();
      const create = 'create --if-absent --start-timeout 9s';
      assert.is(
        await succeeds(host, `${create} url :4030 docker-ns app tail url :4100`),
        '4030-app tcp://127.0.0.1:4030',
      );
      const before = await digests(host);
      const id = (await host.run('docker inspect -f {{.Id}} app')).stdout.trim().slice(0, 12);
      for (const app of ['app', id])
        assert.is(
          await succeeds(host, `${create} url :4030 docker-ns ${app} tail url :4100`),
          '4030-app tcp://127.0.0.1:4030',
        );
      await host.run('docker stop -t 0 app');
      await succeeds(host, `${create} url :4030 docker-ns app tail url :4100`);
      await host.run('docker start app');
      for (const other of [
        `${create} url :4030 docker-ns app tail url :4200`,
        'create --if-absent url :4030 docker-ns app tail url :4100',
      ])
        await fails(
          host,
          other,
          /link "4030-app" exists, and differs from what is asked for: create --replace changes it/,
        );
      await fails(host, 'create --if-absent --replace url :4030 tail url :4100', /cannot be used with/, 2);
      assert.is(await digests(host), before);
      await Promise.all([1, 2].map(() => succeeds(host, 'create --if-absent url :4031 tail url :4100')));
      await succeeds(host, 'create --if-absent url :4031 tail url :4100');
      await succeeds(host, 'delete 4031 4030-app');
    });

    test('a stopped link stays stopped', async () => {
      const host = at();
      await succeeds(host, 'stop other');
      assert.is(await succeeds(host, 'apply'), '');
      await write(host, 'other', '[Link]\nRecipe=url :4001 tail url :4100\n');
      await succeeds(host, 'apply');
      assert.match(await succeeds(host, 'list'), /^other .* stopped /m);
      await succeeds(host, 'start other');
    });

    test(`${MANY} links at once, with one reload of systemd at most`, async () => {
      const host = at();
      await manyLinks(host, 4100);
      const before = await reloads(host);
      const began = Date.now();
      await wormhole(host, 'apply -f /root/many');
      const created = Date.now() - began;
      assert.is((await reloads(host)) - before, 0);
      assert.is(
        JSON.parse(await succeeds(host, 'list --json')).filter(({ id }: { id: string }) => id.startsWith('m'))
          .length,
        MANY + 1,
      );
      await manyLinks(host, 4200);
      const since = Date.now();
      await wormhole(host, 'apply -f /root/many');
      const changed = Date.now() - since;
      assert.is((await reloads(host)) - before, 1);
      const third = Date.now();
      assert.is(await succeeds(host, 'apply -f /root/many'), '');
      process.stdout.write(
        `${MANY} links: created in ${created} ms, changed in ${changed} ms, compared in ${Date.now() - third} ms\n`,
      );
      assert.is((await host.run('echo z | nc -N 127.0.0.1 20299')).stdout, 'two z\n');
    });

    test('killed at any moment and run again, it reaches what the files say; two at once do too', async () => {
      const host = at();
      const described = async () =>
        (
          await host.run(
            'cd /etc/systemd/system && grep -h ^Digest= wormhole-m[0-9]*.socket wormhole-m[0-9]*.service | sort | sha256sum; ls -d wormhole-m[0-9]* | wc -l',
          )
        ).stdout;
      await host.run('rm /root/many/*[1-9].wormhole');
      const { stderr } = await wormhole(host, 'delete m10');
      assert.match(
        stderr,
        /, and wormhole apply -f \/root\/many creates the link again: remove the file too\n/,
      );
      await succeeds(host, 'apply -f /root/many --prune');
      const wanted: Record<number, string> = {};
      for (const port of [4100, 4200]) {
        await manyLinks(host, port, 10);
        await succeeds(host, 'apply -f /root/many');
        wanted[port] = await described();
      }
      for (let round = 0; round < 8; round++) {
        const port = round % 2 === 0 ? 4100 : 4200;
        await manyLinks(host, port, 10);
        if (round % 4 === 3) await host.run("wormhole delete $(seq -f 'm%g' 0 10 299)");
        const delay = (0.1 + Math.random() * 1.5).toFixed(2);
        await host.run(`timeout -s KILL ${delay} wormhole apply -f /root/many`, { check: false });
        if (round % 2 === 0) await wormhole(host, 'apply -f /root/many');
        else await Promise.all([1, 2].map(() => succeeds(host, 'apply -f /root/many')));
        assert.is(await described(), wanted[port], `round ${round}, killed after ${delay} s`);
        assert.is(await succeeds(host, 'apply -f /root/many'), '');
        const name = port === 4100 ? 'one' : 'two';
        assert.is((await host.run('echo z | nc -N 127.0.0.1 20290')).stdout, `${name} z\n`);
      }
      assert.is(
        (await host.run('ls /run/wormhole/unfinished /var/lib/wormhole/former-links')).stdout.replace(
          /^.*:$|\n/gm,
          '',
        ),
        '',
      );
    });

    test('all of it goes without a trace', async () => {
      const host = at();
      await host.run(`rm -r ${LINKS}/* /root/many/*`);
      await wormhole(host, 'apply --prune');
      await wormhole(host, 'apply --prune -f /root/many');
      assert.is(await succeeds(host, 'list --json'), '[]');
      await wormhole(host, 'delete --all --volumes');
      await leavesNothing(host);
    });
  },
);

async function write(host: Host, name: string, text: string): Promise<void> {
  await host.run(`cat >${LINKS}/.new && mv ${LINKS}/.new ${LINKS}/${name}.wormhole`, { input: text });
}

async function remove(host: Host, name: string): Promise<void> {
  await host.run(`rm ${LINKS}/${name}.wormhole`);
}

/** Files of links m0, m10, … or of all of them, to a port. */
async function manyLinks(host: Host, port: number, step = 1): Promise<void> {
  await host.run(
    `mkdir -p /root/many; for n in $(seq 0 ${step} ${MANY - 1}); do printf '[Link]\\nRecipe=url :%s tail url :${port}\\n' $((20000 + n)) >/root/many/m$n.wormhole; done`,
  );
}

/** The units of links with the digests of their texts. */
async function digests(host: Host): Promise<string> {
  return (
    await host.run('cd /etc/systemd/system && grep ^Digest= wormhole-*.socket wormhole-*.service | sort')
  ).stdout.trim();
}

async function reloads(host: Host): Promise<number> {
  return Number(
    (await host.run("journalctl --sync; journalctl _PID=1 -o cat | grep -c '^Reloading' || true")).stdout,
  );
}
