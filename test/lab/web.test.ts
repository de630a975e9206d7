import * as assert from 'uvu/assert';
import type { Overview, ShownDetails } from '../../src/web/overview.js';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* The page of `wormhole web`, as a browser asks for it, and as those who should not see it do. What it looks like: web-page.test.ts. */

const PORT = 9997;
const ORIGIN = `http://127.0.0.1:${PORT}`;

/** What curl got: the status, the headers, and the body. */
interface Answer {
  status: number;
  headers: string;
  body: string;
}

/** A browser that has used a token. */
interface Session {
  path: string;
  cookie: string;
}

async function curl(host: Host, args: string, by = ''): Promise<Answer> {
  const { stdout } = await host.run(`${by} curl -sS -i --path-as-is --max-time 20 ${args}`, { check: false });
  const [head = '', ...body] = stdout.split('\r\n\r\n');
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]),
    headers: head,
    body: body.join('\r\n\r\n'),
  };
}

const status = async (host: Host, args: string) => (await curl(host, args)).status;

/** Opens a session, as a browser does with what `wormhole web` prints. */
async function enter(host: Host): Promise<Session> {
  const { status, headers, body } = await curl(host, `'${await succeeds(host, 'web')}'`);
  assert.is(status, 200, body);
  const [, cookie = '', path = ''] = /^Set-Cookie: (wormhole=[^;]+); Path=([^;]+);/m.exec(headers) ?? [];
  assert.match(body, `url=${path}"`);
  // Without it, a browser asks for /favicon.ico, and complains that there is none.
  assert.match(body, `<link rel="icon" href="${path}icon.svg"`);
  return { path, cookie };
}

const get = async <T>(host: Host, { path, cookie }: Session, api: string): Promise<T> => {
  const { status, body } = await curl(host, `-H 'Cookie: ${cookie}' ${ORIGIN}${path}api/${api}`);
  assert.is(status, 200, body);
  return JSON.parse(body);
};

labSuite(
  'web',
  () => installedHost({ name: 'web', packages: ['curl'] }),
  (test, at) => {
    test('the port is closed until root asks, and the address works once', async () => {
      const host = at();
      assert.is((await host.run(`curl -sS ${ORIGIN}/`, { check: false })).status, 7);
      const url = await succeeds(host, 'web');
      assert.match(url, /^http:\/\/127\.0\.0\.1:9997\/\?token=[A-Za-z0-9_-]{43}$/);
      assert.is(
        (await host.run('systemctl is-enabled wormholed-web.socket', { check: false })).stdout,
        'disabled\n',
      );
      // Neither what a chat program or a prefetching browser does with a link uses it up, nor a wrong host.
      assert.is(await status(host, `-I '${url}'`), 405);
      assert.is(await status(host, `-H 'Sec-Purpose: prefetch' '${url}'`), 403);
      assert.is(await status(host, `-H 'Host: evil.example:${PORT}' '${url}'`), 403);
      const first = await curl(host, `'${url}'`);
      assert.is(first.status, 200);
      assert.match(
        first.headers,
        /^Set-Cookie: wormhole=[^;]+; Path=\/[^/;]{22}\/; Max-Age=43200; HttpOnly; SameSite=Strict$/m,
      );
      assert.match(
        first.headers,
        /^Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; /m,
      );
      assert.match(first.headers, /^Cache-Control: no-store$/m);
      const second = await curl(host, `'${url}'`);
      assert.is(second.status, 403);
      assert.match(second.body, /has been used, or is older than two minutes: run wormhole web again/);
      assert.is(await status(host, `'${url.replace(/.{4}$/, 'AAAA')}'`), 403);
    });

    test('it serves as nobody, who reaches neither the bus nor wormholed but to look', async () => {
      const host = at();
      await succeeds(host, 'web');
      const show = async (name: string) =>
        (await host.run(`systemctl show -P ${name} wormholed-web.service`)).stdout.trim();
      const pid = await show('MainPID');
      const process = (await host.run(`cat /proc/${pid}/status`)).stdout;
      assert.not.match(process, /^Uid:\s+0\s/m);
      assert.match(process, /^CapEff:\s+0{16}$/m);
      const inside = `nsenter -t ${pid} -m --`;
      assert.is(
        (await host.run(`${inside} find /run -path /run/private -prune -o -not -type d -print`)).stdout,
        '/run/wormholed-web\n/run/wormholed-read/socket\n',
      );
      const ask = (args: string) =>
        host.run(`curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/wormholed-read/socket ${args}`);
      assert.is((await ask('http://x/v1/links')).stdout, '200');
      assert.is((await ask('http://x/v1/tunnels')).stdout, '200');
      for (const args of [
        `-X POST -d '{"recipe":["url",":7999","tail","url",":1"]}' http://x/v1/links`,
        '-X DELETE http://x/v1/links/a',
        '-X PUT -d {} http://x/v1/session',
        '-X PUT -d {} http://x/v1/tunnels/0123456789abcdef',
        '-X POST http://x/v1/links/a/stop',
      ])
        assert.match((await ask(args)).stdout, /^40[045]$/, args);
      // Others do not reach that socket, nor the one for tokens.
      for (const path of ['/run/wormholed-read/socket', '/run/wormholed-web.sock'])
        assert.is(
          (
            await host.run(
              `setpriv --reuid nobody --regid nogroup --clear-groups curl -s --unix-socket ${path} http://x/token`,
              { check: false },
            )
          ).status,
          7,
        );
      await fails(host, '-H web web', /the page shows this machine/, 2);
      assert.match(
        (
          await host.run('setpriv --reuid nobody --regid nogroup --clear-groups wormhole web', {
            check: false,
          })
        ).stderr,
        /^wormhole: this needs root: sudo wormhole web$/m,
      );
    });

    test('only a browser with the cookie looks, at its own path, and nothing but GET is answered', async () => {
      const host = at();
      const { path, cookie } = await enter(host);
      const page = `${ORIGIN}${path}`;
      const own = `-H 'Cookie: ${cookie}'`;
      assert.is(await status(host, `${own} ${page}`), 200);
      for (const name of ['page.js', 'page.css', 'icon.svg', 'api/overview', 'api/history'])
        assert.is(await status(host, `${own} ${page}${name}`), 200, name);
      for (const name of ['', 'page.js', 'api/overview', 'api/links/a'])
        assert.is(await status(host, `${page}${name}`), 403, `without a cookie: ${name}`);
      const other = await enter(host);
      assert.is(await status(host, `${own} ${ORIGIN}${other.path}`), 403, 'the cookie of another session');
      assert.is(await status(host, `${own.replace(/.{5}'$/, "AAAAA'")} ${page}`), 403);
      for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'])
        assert.is(await status(host, `${own} -X ${method} --head ${page}api/overview`), 405, method);
      assert.is(await status(host, `${own} -X GET -d body ${page}api/overview`), 400);
      for (const name of [
        'evil.example',
        `web:${PORT}`,
        '127.0.0.1.evil.example',
        '10.90.0.2',
        '',
        '127.0.0.1@evil',
      ])
        assert.is(await status(host, `${own} -H 'Host: ${name}' ${page}`), 403, name);
      // As by ssh -L 8080:127.0.0.1:9997.
      for (const name of ['localhost:8080', '127.0.0.1:8080', '[::1]:9997'])
        assert.is(await status(host, `${own} -H 'Host: ${name}' ${page}`), 200, name);
      for (const [header, expected] of [
        ['Origin: http://evil.example', 403],
        ['Origin: null', 403],
        // Another port of this machine is another origin, and the same site.
        ['Origin: http://127.0.0.1:8080', 403],
        ['Sec-Fetch-Site: same-site', 403],
        ['Sec-Fetch-Site: cross-site', 403],
        [`Origin: ${ORIGIN}`, 200],
        ['Sec-Fetch-Site: same-origin', 200],
      ] as const)
        assert.is(await status(host, `${own} -H '${header}' ${page}api/overview`), expected, header);
      for (const bad of [
        `${path}../etc/passwd`,
        `${path}..%2f..%2fetc/passwd`,
        `${path}page.js/../../wormhole.cjs`,
        `${path}api/links/..`,
        `${path}api/links/..%2f..%2ftunnels`,
        `${path}api/links/a/stop`,
        `${path}constructor`,
        `/${'a'.repeat(22)}/../..${path}`,
        `//evil.example${path}`,
        '/etc/passwd',
        '/favicon.ico',
        '/?token=',
        '/token',
      ])
        assert.is(await status(host, `${own} '${ORIGIN}${bad}'`), 404, bad);
      const gone = await curl(host, `${own} ${page}api/links/nonsense`);
      assert.is(gone.status, 404);
      assert.match(gone.body, /no link \\"nonsense\\"/);
    });

    test('rates, details and history are those of the clients, of show and of list', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit sink socat -u TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr OPEN:/dev/null`,
      );
      await succeeds(host, 'create id flow url :5210 tail url :6010');
      await succeeds(host, 'create id bad url :5211 tail url :6011');
      await host.run('nc 127.0.0.1 5211 </dev/null', { check: false });
      const session = await enter(host);
      // 200,000 bytes a second, as pv would send them.
      await host.run(
        `systemd-run --unit sender sh -c 'while :; do head -c 20000 /dev/zero; sleep 0.1; done | nc 127.0.0.1 5210'`,
      );
      await get<Overview>(host, session, 'overview');
      await host.run('sleep 1');
      const before = await get<Overview>(host, session, 'overview');
      const counted = async () => bytesOf(JSON.parse(await succeeds(host, 'list --json')), 'flow');
      await host.run('sleep 3');
      const after = await get<Overview>(host, session, 'overview');
      const [one, other] = [bytesOf(before.links, 'flow'), bytesOf(after.links, 'flow')];
      assert.ok(other > one, `${one} ${other}`);
      assert.ok(other <= (await counted()));
      const expected = ((other - one) / (after.at - before.at)) * 1000;
      const { rates, state } = after.links.find(({ id }) => id === 'flow') ?? {};
      assert.is(state, 'connected');
      assert.ok(
        Math.abs((rates?.fromClients ?? 0) - expected) < 1,
        `${rates?.fromClients} bytes a second, ${expected} counted`,
      );
      assert.is(after.links.find(({ id }) => id === 'bad')?.state, 'failing');
      assert.is(after.machine, 'web');
      const details = await host.waitFor(
        async () => {
          const read = await get<ShownDetails>(host, session, 'links/flow');
          assert.ok(read.sessions?.length);
          return read;
        },
        { timeout: 20, what: 'the session of the sender' },
      );
      const shown = JSON.parse(await succeeds(host, 'show --json flow')) as ShownDetails;
      assert.equal(details.units, shown.units);
      assert.equal(details.journal, shown.journal);
      assert.is(details.sessions?.[0]?.client, shown.sessions?.[0]?.client);
      assert.ok((details.sessions?.[0]?.bytesFromClient ?? 0) >= 1);
      // Two samples: the time between them has what the counters have moved by.
      const history = await host.waitFor(
        async () => {
          await get<Overview>(host, session, 'overview');
          const rates = await get<{ from: number; to: number; fromClients: number }[]>(
            host,
            session,
            'history/flow',
          );
          assert.ok(rates.length > 0);
          return rates;
        },
        { timeout: 40, what: 'a second sample' },
      );
      const flowed = history.reduce(
        (sum, { from, to, fromClients }) => sum + (fromClients * (to - from)) / 1000,
        0,
      );
      assert.ok(flowed > 0 && flowed <= (await counted()), `${flowed}`);
      await host.run('systemctl stop sender sink; systemctl reset-failed');
    });

    test('strangers who are slow, send much or open many connections keep nobody out', async () => {
      const host = at();
      const { path, cookie } = await enter(host);
      const page = `${ORIGIN}${path}api/overview`;
      const own = `-H 'Cookie: ${cookie}'`;
      assert.is(await status(host, `-H 'X-Long: ${'a'.repeat(70_000)}' ${ORIGIN}/`), 431);
      assert.is(await status(host, `${ORIGIN}/${'a'.repeat(70_000)}`), 431);
      // Servers at other ports may have set cookies, which browsers send along.
      assert.is(await status(host, `-H 'Cookie: theirs=${'a'.repeat(20_000)}; ${cookie}' ${page}`), 200);
      const slow = await host.run(
        `(printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nX: '; sleep 9) | timeout 30 nc 127.0.0.1 ${PORT}`,
        {
          check: false,
        },
      );
      assert.match(slow.stdout, /^HTTP\/1\.1 408 /);
      // 300 connections that say nothing, again and again.
      const flood = host.spawn(
        `timeout 30 node -e "const net=require('net'); const open=()=>{const s=net.connect(${PORT},'127.0.0.1'); s.on('error',()=>{}); s.on('close',()=>setTimeout(open,50))}; for(let i=0;i<300;i++) open()"`,
      );
      await host.run('sleep 2');
      for (let i = 0; i < 5; i++) assert.is(await status(host, `${own} ${page}`), 200);
      await flood.stop();
      const memory = await host.run(
        'grep VmRSS /proc/$(systemctl show -P MainPID wormholed-web.service)/status',
      );
      const kilobytes = Number(/(\d+) kB/.exec(memory.stdout)?.[1]);
      assert.ok(kilobytes < 192 * 1024, memory.stdout);
      assert.is(await host.failedUnits(), '');
    });

    test('looking neither starts a link nor keeps it awake; when nobody looks, nothing runs, and the session goes on', async () => {
      const host = at();
      const dropIn = '/run/systemd/system/wormholed-web.service.d';
      await host.run(
        `mkdir ${dropIn}; cat >${dropIn}/idle.conf; systemctl daemon-reload; systemctl stop wormholed-web.service`,
        {
          input: '[Service]\nExecStart=\nExecStart=/usr/local/bin/wormhole web-serve --idle 4\n',
        },
      );
      const session = await enter(host);
      await succeeds(host, 'create --idle 2s id nap url :5213 tail url :6010');
      await host.run('systemd-run --unit echo socat TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr EXEC:cat');
      await host.run('echo x | nc -N 127.0.0.1 5213');
      const isActive = async (unit: string) =>
        (await host.run(`systemctl is-active ${unit}`, { check: false })).stdout === 'active\n';
      await host.waitFor(
        async () => {
          await get<Overview>(host, session, 'overview');
          await get<ShownDetails>(host, session, 'links/nap');
          return !(await isActive('wormhole-nap.service'));
        },
        { timeout: 30, what: 'the forwarder to end while somebody looks' },
      );
      await get<ShownDetails>(host, session, 'links/nap');
      assert.is(await isActive('wormhole-nap.service'), false);
      // A stranger who asks does not keep the server.
      const stranger = host.spawn(
        `timeout 60 sh -c 'while :; do curl -s -o /dev/null ${ORIGIN}/; sleep 1; done'`,
      );
      const pid = (await host.run('systemctl show -P MainPID wormholed-web.service')).stdout;
      await host.waitFor(
        async () => (await host.run('systemctl show -P MainPID wormholed-web.service')).stdout !== pid,
        { timeout: 60, what: 'the server to end' },
      );
      await stranger.stop();
      const { links } = await get<Overview>(host, session, 'overview');
      assert.ok(links.some(({ id }) => id === 'nap'));
      assert.ok((await get<unknown[]>(host, session, 'history')).length > 0, 'the hour is kept');
      await host.run(`systemctl stop echo; systemctl reset-failed; rm -r ${dropIn}; systemctl daemon-reload`);
    });

    test('when the port is closed, nobody may look any more', async () => {
      const host = at();
      const session = await enter(host);
      await get<Overview>(host, session, 'overview');
      // Another program may take the port, and what a page that is open sends there.
      await host.run('systemctl stop wormholed-web.socket');
      await host.run('test ! -e /run/wormholed-web/sessions');
      await enter(host);
      const { path, cookie } = session;
      assert.is(await status(host, `-H 'Cookie: ${cookie}' ${ORIGIN}${path}api/overview`), 403);
    });

    test('on a desktop, the file for the browser is put into the place of nothing else', async () => {
      const host = at();
      await host.run(`
        echo precious >/root/precious
        printf '#!/bin/sh\\ncp "$1" /tmp/opened\\n' >/usr/local/bin/xdg-open; chmod +x /usr/local/bin/xdg-open
        mkdir -p /run/user/65534; chown nobody /run/user/65534
        setpriv --reuid 65534 sh -c 'cd /run/user/65534; for n in $(seq 2000); do ln -s /root/precious .wormhole-web.html.$n.new; done'
        ln -s /root/precious /run/user/65534/wormhole-web.html`);
      await host.run('SUDO_UID=65534 SUDO_GID=65534 wormhole web --open');
      assert.is(
        (await host.run('stat -c "%U %a" /root/precious; cat /root/precious')).stdout,
        'root 644\nprecious\n',
      );
      const file = await host.run('stat -c "%F %U %a" /run/user/65534/wormhole-web.html');
      assert.is(file.stdout, 'regular file nobody 600\n');
      assert.match((await host.run('cat /tmp/opened')).stdout, /url=http:/);
      await host.run('rm -r /run/user/65534 /root/precious /usr/local/bin/xdg-open /tmp/opened');
    });

    test('an address that others reach is refused, and nothing is left', async () => {
      const host = at();
      await host.run('systemctl stop wormholed-web.socket wormholed-web.service');
      const dropIn = '/run/systemd/system/wormholed-web.socket.d';
      await host.run(`mkdir ${dropIn}; cat >${dropIn}/x.conf; systemctl daemon-reload`, {
        input: '[Socket]\nListenStream=\nListenStream=0.0.0.0:9997\nListenStream=/run/wormholed-web.sock\n',
      });
      await fails(host, 'web', /the page is not served: .*see journalctl -u wormholed-web/);
      assert.match(
        await host.journal('-u', 'wormholed-web.service'),
        /listens at 0\.0\.0\.0, which others may reach/,
      );
      await host.run(
        `rm -r ${dropIn}; systemctl daemon-reload; systemctl stop wormholed-web.socket wormholed-web.service`,
      );
      await host.run('systemctl reset-failed', { check: false });
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);

function bytesOf(links: Overview['links'], id: string): number {
  return links.find((link) => link.id === id)?.counters?.bytesFromClients ?? 0;
}
