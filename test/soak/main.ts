import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ExchangeOptions, ExchangeResult } from '../lab/exchange.ts';
import { installedHost } from '../lab/installed.ts';
import type { Host } from '../lab/rig/host.ts';
import { parseOptions } from '../options.ts';
import { drawFigures } from './chart.ts';
import { type Figures, grown, type Sample } from './figures.ts';

/*
 * npm run soak -- [--minutes N] [--sessions N] [--seed N]
 *
 * On a host with systemd and Docker, for an hour: rounds of sessions of random shape through one forwarder, every byte of which is
 * checked, while a container behind another link is restarted, datagrams come and go, and links are created, changed and deleted. After
 * each round, when no session is left, what the forwarder, systemd and the file system hold is counted. It fails when anything
 * of that grows. What was counted is written to test/soak/results.
 */

const { values } = parseOptions('soak', {
  options: {
    minutes: { type: 'string', default: '60' },
    sessions: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
  },
});
const [minutes, sessions, seed] = [Number(values.minutes), Number(values.sessions), Number(values.seed)];
if (![minutes, sessions, seed].every((value) => Number.isSafeInteger(value) && value > 0)) {
  console.error('npm run soak: --minutes, --sessions and --seed take whole numbers above 0');
  process.exit(2);
}

/** How long the sessions of a round take that nothing delays, s. */
const ROUND_SECONDS = 30;

const LINK = 3000;

const host = await installedHost({ name: 'soak' });
const samples: Sample[] = [];
let wrong: string[] = [];
try {
  await host.run(
    `docker run -d --name web --restart always --network none wormhole/tools \\
       socat TCP-LISTEN:80,bind=127.0.0.1,fork,reuseaddr EXEC:cat >/dev/null
     systemd-run -q --unit echo socat UDP-LISTEN:4009,bind=127.0.0.1,fork,reuseaddr EXEC:cat
     systemd-run -q --unit echo-tcp socat TCP-LISTEN:4010,bind=127.0.0.1,fork,reuseaddr EXEC:cat
     wormhole create --idle 2h id ${LINK} url :${LINK} tail url :4000
     wormhole create --idle 2h --udp-timeout 5s id dgram url udp://:3009 tail url :4009
     wormhole create --idle 2h id web url :7000 tail url :80 docker-ns web
     wormhole create --idle 2h --balance round-robin id both url :7001 tail url :80 docker-ns web or url :4010`,
    { timeout: 120 },
  );
  const end = Date.now() + 60_000 * minutes;
  for (let round = 0; Date.now() < end; round++) {
    const sample = await playRound(host, round);
    samples.push(sample);
    console.log(`round ${round}: ${JSON.stringify(sample.figures)}`);
  }
  wrong = grown(samples);
} catch (error) {
  wrong = [(error as Error).message, await host.journal('-n', '40').catch(String)];
} finally {
  await host.powerOff();
}
const results = fileURLToPath(new URL('results', import.meta.url));
mkdirSync(results, { recursive: true });
const { version } = process;
const report = { date: new Date().toISOString(), node: version, minutes, sessions, seed, samples, wrong };
writeFileSync(`${results}/soak.json`, `${JSON.stringify(report, undefined, 1)}\n`);
writeFileSync(`${results}/soak.svg`, drawFigures(samples));
for (const line of wrong) console.log(`FAILED ${line}`);
console.log(`${wrong.length === 0 ? 1 : 0} passed, ${wrong.length === 0 ? 0 : 1} failed`);
process.exitCode = wrong.length === 0 ? 0 : 1;

async function playRound(on: Host, round: number): Promise<Sample> {
  const began = Math.floor(Date.now() / 1000);
  const options: ExchangeOptions = {
    ...{ listen: 4000, link: LINK, sessions, seed: seed + round },
    ...{ seconds: ROUND_SECONDS, bytes: 200_000 },
  };
  const exchange = on.spawn(
    `cd /src/wormhole && exec node --import tsx test/lab/exchange.ts '${JSON.stringify(options)}'`,
  );
  try {
    await on.waitFor(() => exchange.stdout().includes('running'), {
      timeout: 120,
      what: 'the sessions to run',
    });
    await on.run(
      `for i in $(seq 50); do echo $i | socat -t 0.2 - UDP:127.0.0.1:3009 >/dev/null; done
       for i in $(seq 50); do echo $i | socat -t 2 - TCP:127.0.0.1:7000 >/dev/null; done
       docker restart -t 0 web >/dev/null
       wormhole create id victim url :7100 tail docker-ns web >/dev/null
       wormhole create --replace --rate 500 id victim url :7100 tail docker-ns web >/dev/null
       wormhole delete victim`,
      { timeout: 180 },
    );
    for (const port of [7000, 7001, 7001]) await answers(on, port);
    const ended = await exchange.exited;
    const { ends }: ExchangeResult = JSON.parse(ended.stdout.trim().split('\n').at(-1) ?? '');
    if (ends.ok !== 2 * sessions)
      throw new Error(`round ${round}: the sessions ended ${JSON.stringify(ends)}`);
  } finally {
    await exchange.stop();
  }
  // Sessions of datagrams end after 5 s, and snapshots of sessions that have ended leave the store.
  await on.run('sleep 8');
  return { at: began, figures: await count(on, began) };
}

async function answers(on: Host, port: number): Promise<void> {
  await on.waitFor(
    async () =>
      (await on.run(`echo hi | socat -t 5 - TCP:127.0.0.1:${port}`, { check: false })).stdout.startsWith(
        'hi',
      ),
    { timeout: 60, what: `an answer at ${port}` },
  );
}

/** Counts what is held on the host. */
async function count(on: Host, since: number): Promise<Figures> {
  const { stdout } = await on.run(`
    pid=$(systemctl show -P MainPID wormhole-${LINK}.service)
    datagrams=$(systemctl show -P MainPID wormhole-dgram.service)
    echo descriptors $(ls /proc/$pid/fd | wc -l)
    echo descriptorsOfDatagrams $(ls /proc/$datagrams/fd | wc -l)
    echo pipes $(ls -l /proc/$pid/fd | grep -c 'pipe:')
    echo privateKilobytes $(awk '/^Private_/ { sum += $2 } END { print sum }' /proc/$pid/smaps_rollup)
    echo privateKilobytesOfDatagrams $(awk '/^Private_/ { sum += $2 } END { print sum }' /proc/$datagrams/smaps_rollup)
    echo storedDescriptors $(systemctl show -P NFileDescriptorStore wormhole-${LINK}.service)
    echo descriptorsOfSystemd $(ls /proc/1/fd | wc -l)
    echo units $(systemctl list-units --all --no-legend 'wormhole*' | wc -l)
    echo files $(find /run/wormhole /var/lib/wormhole /etc/systemd/system -xdev | wc -l)
    echo containers $(docker ps -aq | wc -l)
    echo journalLines $(journalctl -q --since @${since} -o cat -u 'wormhole*' | wc -l)
  `);
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.trim().split(' '))
      .map(([name = '', value]) => [name, Number(value)]),
  );
}
