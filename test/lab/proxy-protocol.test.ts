import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/listing-schema.ts';
import { writeKey } from './cluster.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* The PROXY protocol with those who speak it: nginx and HAProxy. */

/** Answers with the client that the header names, as the real one (ngx_http_realip_module), and logs it. */
const NGINX = `
user root;
daemon off;
error_log stderr;
events {}
http {
  log_format named "$remote_addr $remote_port to $proxy_protocol_server_addr $proxy_protocol_server_port";
  server {
    listen 127.0.0.1:8081 proxy_protocol;
    listen [::1]:8081 proxy_protocol;
    set_real_ip_from 127.0.0.1;
    set_real_ip_from ::1;
    real_ip_header proxy_protocol;
    access_log /var/log/nginx/named.log named;
    location / { return 200 "$remote_addr $remote_port to $proxy_protocol_server_addr $proxy_protocol_server_port\\n"; }
  }
}
`;

/** A receiver on port 8100; and senders on 8101 to 8103, which lead to the links on 8111 to 8113. */
const HAPROXY = `
global
  log stderr format raw daemon
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  log global
frontend receiver
  mode http
  bind 127.0.0.1:8100 accept-proxy
  log-format "receiver %ci:%cp"
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] to %[dst] %[dst_port]\\n"
listen version-1
  mode tcp
  bind 0.0.0.0:8101
  server link 127.0.0.1:8111 send-proxy check inter 500ms
listen version-2
  mode tcp
  bind 0.0.0.0:8102
  server link 127.0.0.1:8112 send-proxy-v2 check inter 500ms
listen vectors
  mode tcp
  bind 0.0.0.0:8103
  unique-id-format %rt
  server link 127.0.0.1:8113 send-proxy-v2 proxy-v2-options crc32c,unique-id
`;

/** Answers each client with the header that it has sent: the family, the paths, and the TLVs; or the line of version 1. */
const RECEIVER = `
require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
  let all = Buffer.alloc(0);
  socket.on('data', (data) => { all = Buffer.concat([all, data]); });
  socket.on('error', () => {});
  socket.on('end', () => {
    const text = all.toString('latin1');
    if (all.length < 16 || text.startsWith('PROXY')) return socket.end(text);
    const size = 16 + all.readUInt16BE(14);
    const values = [];
    for (let at = 16 + 216; at < size; at += 3 + all.readUInt16BE(at + 1))
      values.push(all[at].toString(16) + '=' + all.readUInt32BE(at + 3));
    const path = text.slice(124, 232).replace(/\\0+$/, '');
    socket.end([all[13].toString(16), path, ...values, text.slice(size)].join(' '));
  });
}).listen(8130, '127.0.0.1');
`;

/** What a client on a host is told by an HTTP server. */
async function get(host: Host, url: string, options = ''): Promise<string> {
  return (await host.run(`curl -sS -m 30 -g ${options} ${url}`, { check: false, timeout: 60 })).stdout.trim();
}

async function startServers(host: Host): Promise<void> {
  await host.run('systemctl disable --now nginx haproxy; systemctl reset-failed', { check: false });
  await host.run('cat >/etc/nginx/nginx.conf', { input: NGINX });
  await host.run('cat >/etc/haproxy/haproxy.cfg', { input: HAPROXY });
  await host.run('cat >/root/receiver.cjs', { input: RECEIVER });
  await host.run('systemd-run --unit web nginx');
  await host.run('systemd-run --unit proxy haproxy -db -f /etc/haproxy/haproxy.cfg');
  await host.run('systemd-run --unit receiver "$(command -v node)" /root/receiver.cjs');
  for (const port of [8081, 8100, 8130])
    await host.waitFor(() => host.run(`nc -z 127.0.0.1 ${port}`), { what: `port ${port}` });
}

async function listed(host: Host, id: string): Promise<ListedLink | undefined> {
  return (JSON.parse(await succeeds(host, 'list --json')) as ListedLink[]).find((link) => link.id === id);
}

function journal(host: Host, id: string): Promise<string> {
  return host.journal('-b', '-o', 'cat', '-u', `wormhole-${id}.service`);
}

labSuite<{ near: Host; far: Host }>(
  'the PROXY protocol',
  async () => {
    const packages = ['nginx-light', 'haproxy', 'curl'];
    const near = await installedHost({ name: 'near', packages });
    const far = await installedHost({ name: 'far', packages, docker: false });
    await writeKey(far, (await near.run('cat /etc/wormhole/key.secret')).stdout);
    await startServers(near);
    await startServers(far);
    return { near, far };
  },
  (test, at) => {
    test('nginx sees and logs the real client, over IPv4 and IPv6, by version 2 and version 1', async () => {
      const { near, far } = at();
      await succeeds(near, 'create --proxy-protocol id web url 0.0.0.0:8080 tail url :8081');
      await succeeds(near, 'create --proxy-protocol=v1 id web6 url [::]:8082 tail url [::1]:8081');
      // Ports of clients that the kernel gives to nobody by itself.
      for (const [port, own, target, from] of [
        [8080, far.address, near.address, 20121],
        [8082, far.address, near.address, 20122],
        [8082, far.address6, near.address6, 20123],
      ] as const) {
        const url = own.includes(':') ? `[${target}]` : target;
        const expected = `${own} ${from} to ${target} ${port}`;
        assert.is(await get(far, `http://${url}:${port}/`, `--local-port ${from}`), expected);
        // nginx logs a request when it has answered it.
        await near.waitFor(
          async () => (await near.run('tail -n 1 /var/log/nginx/named.log')).stdout === `${expected}\n`,
          { what: `the log of nginx to have "${expected}"` },
        );
      }
      assert.is((await listed(near, 'web'))?.proxyProtocol, 'v2');
      assert.is((await listed(near, 'web6'))?.proxyProtocol, 'v1');
      assert.not.match((await journal(near, 'web')) + (await journal(near, 'web6')), /not permitted|cannot/i);
    });

    test('HAProxy as receiver names and logs the real client', async () => {
      const { near, far } = at();
      for (const version of ['v1', 'v2']) {
        await succeeds(
          near,
          `create --replace --proxy-protocol=${version} id ha url 0.0.0.0:8090 tail url :8100`,
        );
        const [, port] =
          new RegExp(`^${far.address} (\\d+) to ${near.address} 8090$`).exec(
            await get(far, `http://${near.address}:8090/`),
          ) ?? [];
        assert.ok(port, version);
        await near.waitFor(
          async () =>
            (await near.journal('-b', '-o', 'cat', '-u', 'proxy')).includes(
              `receiver ${far.address}:${port}`,
            ),
          { what: 'the log of HAProxy' },
        );
      }
      await succeeds(near, 'delete ha');
    });

    test('through remote, and through a chain, the target sees the first client', async () => {
      const { near, far } = at();
      await succeeds(near, 'create --proxy-protocol id through url 0.0.0.0:8091 remote far tail url :8081');
      await succeeds(
        near,
        'create --proxy-protocol id one url 0.0.0.0:8092 chain id two url :8093 tail url :8081',
      );
      // The client is on the machine of the target, and its address not that of the machine which connects there.
      assert.match(
        await get(far, `http://${near.address}:8091/`),
        new RegExp(`^${far.address} \\d+ to ${near.address} 8091$`),
      );
      assert.match(
        await get(far, `http://${near.address}:8092/`),
        new RegExp(`^${far.address} \\d+ to ${near.address} 8092$`),
      );
      // The part there knows nothing of it, and does not need to.
      assert.not.match((await far.run('cat /etc/systemd/system/wormhole-near-through.*')).stdout, /proxy/i);
      // A part stays when only the option changes.
      const part = async () =>
        (await far.run('stat -c %i /etc/systemd/system/wormhole-near-through.socket')).stdout;
      const before = await part();
      await succeeds(
        near,
        'create --replace --proxy-protocol=v1 id through url 0.0.0.0:8091 remote far tail url :8081',
      );
      assert.is(await part(), before);
      assert.match(await get(far, `http://${near.address}:8091/`), new RegExp(`^${far.address} `));
      await succeeds(near, 'delete through one');
    });

    test('HAProxy as sender, of both versions, with TLVs, a checksum and health checks', async () => {
      const { near, far } = at();
      for (const port of [8111, 8112, 8113])
        await succeeds(
          near,
          `create --accept-proxy-protocol 192.0.2.0/24 --accept-proxy-protocol 127.0.0.0/8,::1 --proxy-protocol url :${port} tail url :8081`,
        );
      for (const port of [8101, 8102, 8103])
        await near.waitFor(
          async () =>
            new RegExp(`^${far.address} \\d+ to ${near.address} ${port}$`).test(
              await get(far, `http://${near.address}:${port}/`),
            ),
          { what: `the answer through port ${port}` },
        );
      // Some health checks have come and gone.
      await near.run('sleep 2');
      for (const port of [8111, 8112, 8113]) assert.not.match(await journal(near, `${port}`), /PROXY|closed/);
      assert.equal((await listed(near, '8111'))?.acceptProxyProtocol, ['192.0.2.0/24', '127.0.0.0/8', '::1']);
    });

    test('a client that is no proxy is reset, with one line that names it and its bytes harmlessly', async () => {
      const { near } = at();
      const began = performance.now();
      for (const say of [
        'GET / HTTP/1.1\\r\\n\\r\\n',
        '\\033[31mPROXY',
        'PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\\r\\n',
      ])
        for (let i = 0; i < 2; i++)
          await near.run(`printf '${say}' | socat -t 10 - TCP:127.0.0.1:8111 2>&1`, { check: false });
      const log = (await journal(near, '8111')).split('\n').filter((line) => /PROXY header/.test(line));
      // One at once, and one for all the others each ten seconds.
      assert.ok(log.length <= 1 + (performance.now() - began) / 10_000, log.join('\n'));
      assert.match(
        log[0] ?? '',
        /^link 8111: closed the client 127\.0\.0\.1:\d+: its PROXY header is missing: it begins with "GET \/ HTTP\/1\.1\.\.\.\."$/,
      );
      assert.ok(((await listed(near, '8111'))?.counters?.denied ?? 0) >= 6);
      await succeeds(near, 'delete 8111 8112 8113');
    });

    test('a head in a container behind a proxy', async () => {
      const { near } = at();
      await near.run('docker run -d --network none --name app wormhole/tools');
      await succeeds(
        near,
        'create --accept-proxy-protocol 127.0.0.1 --proxy-protocol id inside url :8140 docker-ns app tail url :8081',
      );
      const ask = `printf 'PROXY TCP4 203.0.113.9 192.0.2.1 1234 80\\r\\nGET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 127.0.0.1 8140 | tail -n 1`;
      assert.is((await near.container('app').runInNetwork(ask)).stdout, '203.0.113.9 1234 to 192.0.2.1 80\n');
      await succeeds(near, 'delete inside');
      await near.run('docker rm -f app');
    });

    test('a unix head: the target is told the process and the user of each client', async () => {
      const { near } = at();
      await succeeds(near, 'create --proxy-protocol url unix:///run/who.sock tail url tcp://:8130');
      await near.run('useradd -u 4321 visitor');
      const ask = (user: string) =>
        near.run(
          `setpriv --reuid ${user} --clear-groups sh -c 'echo $$; exec socat -t 20 - UNIX:/run/who.sock' </dev/null`,
        );
      for (const user of ['visitor', 'root', 'daemon']) {
        const [pid, answer] = (await ask(user)).stdout.split('\n');
        const uid = (await near.run(`id -u ${user}`)).stdout.trim();
        assert.is(answer, `31 /run/who.sock e0=${pid} e1=${uid} `);
      }
      await succeeds(
        near,
        'create --replace --proxy-protocol=v1 url unix:///run/who.sock tail url tcp://:8130',
      );
      assert.is((await ask('visitor')).stdout.split('\n')[1], 'PROXY UNKNOWN\r');
      // It has no user namespace of its own, in which all others would be nobody; see doc/security.md.
      await succeeds(near, 'create --replace --proxy-protocol url unix:///run/who.sock tail url tcp://:8130');
      const { stdout } = await near.run('systemd-analyze security --no-pager wormhole-who.service');
      assert.is(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1], '1.1');
      await succeeds(near, 'delete who');
    });

    test('the options survive edit, upgrade, replace and a call from elsewhere; and what cannot work is refused', async () => {
      const { near, far } = at();
      const options = '--proxy-protocol=v1 --accept-proxy-protocol 10.1.0.0/16,::1';
      await succeeds(near, `create --replace ${options} id web url 0.0.0.0:8080 tail url :8081`);
      const edit = await near.run(`EDITOR='sed -i -n -e p -e w/dev/stderr' wormhole edit web`);
      assert.match(
        edit.stderr,
        /^--proxy-protocol=v1\n--accept-proxy-protocol 10\.1\.0\.0\/16,::1\nid web\n/m,
      );
      await near.run(`EDITOR='sed -i s/=v1/=v2/' wormhole edit web`);
      const expected = { proxyProtocol: 'v2', acceptProxyProtocol: ['10.1.0.0/16', '::1'] };
      const proxyOptions = async (host: Host, id: string) => {
        const { proxyProtocol, acceptProxyProtocol } = (await listed(host, id)) ?? {};
        return { proxyProtocol, acceptProxyProtocol };
      };
      assert.equal(await proxyOptions(near, 'web'), expected);
      await near.run('wormhole upgrade --force');
      assert.equal(await proxyOptions(near, 'web'), expected);
      assert.match(await get(far, `http://${near.address}:8080/`), new RegExp(`^${far.address} `));
      await succeeds(far, `-H near create --replace ${options} id web url 0.0.0.0:8080 tail url :8081`);
      assert.equal(await proxyOptions(near, 'web'), { ...expected, proxyProtocol: 'v1' });
      await succeeds(near, 'create --replace id web url 0.0.0.0:8080 tail url :8081');
      assert.equal(await proxyOptions(near, 'web'), {
        proxyProtocol: undefined,
        acceptProxyProtocol: undefined,
      });

      const refusals: [string, RegExp][] = [
        [
          '--proxy-protocol url udp://:53 tail url :54',
          /for a head of tcp or unix, and this one is udp: .*say url tcp:/,
        ],
        [
          '--proxy-protocol url udp://:53 url tcp:// tail url :54',
          /udp and tcp: make a link of its own for udp/,
        ],
        ['--accept-proxy-protocol ::1 url udp://:53 tail url :54', /for a head of tcp, and this one is udp/],
        ['--accept-proxy-protocol ::1 url unix:///run/x tail url tcp://:5', /say url :PORT/],
        ['--proxy-protocol=v3 url :1 tail url :2', /--proxy-protocol="v3": expected v1 or v2/],
        [
          '--accept-proxy-protocol 10.0.0.0/33 url :1 tail url :2',
          /"10\.0\.0\.0\/33": expected networks of proxies/,
        ],
      ];
      for (const [args, reason] of refusals) {
        await fails(near, `create ${args}`, reason, 2);
        await fails(far, `-H near create ${args}`, reason, 2);
      }
      await succeeds(near, 'delete --all');
      await leavesNothing(near);
      await leavesNothing(far);
    });
  },
);
