import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { KeyInput, Page } from 'puppeteer-core';
import * as assert from 'uvu/assert';
import { type HostBrowser, startBrowser } from './browser.ts';
import { writeKey } from './cluster.ts';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { SLOWNESS } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/*
 * The page of `wormhole web` in a real browser, on the host itself. With WORMHOLE_SCREENSHOTS=1 it also writes doc/images/web-*.png, for
 * which what has flowed within seconds is spread over an hour.
 */

const IMAGES = fileURLToPath(new URL('../../doc/images/', import.meta.url));
const MANY = 300;
const EVIL = '<img src=x onerror=window.hacked=1>';

interface Started {
  host: Host;
  beta: Host;
  opened: HostBrowser;
  page: Page;
  /** What the browser has asked for, and complained of. */
  urls: string[];
  complaints: string[];
}

labSuite<Started>(
  'web page',
  async () => {
    const host = await installedHost({ name: 'atlas' });
    const beta = await installedHost({ name: 'beta', docker: false });
    await writeKey(beta, (await host.run('cat /etc/wormhole/key.secret')).stdout);
    await makeLinks(host, beta);
    const opened = await startBrowser(host);
    const page = await newPage(opened);
    await page.setViewport({ width: 1440, height: 900 });
    const [urls, complaints]: string[][] = [[], []];
    page.on('request', (request) => urls?.push(request.url()));
    page.on('console', (message) =>
      complaints?.push(`${message.text()} ${message.location().url ?? ''}`.trim()),
    );
    page.on('pageerror', (error) => complaints?.push(String(error)));
    return { host, beta, opened, page, urls: urls ?? [], complaints: complaints ?? [] };
  },
  (test, at) => {
    test('the address leads to a map that has each link once, where nothing overlaps', async () => {
      const { host, page, urls, complaints } = at();
      await page.goto(await succeeds(host, 'web'));
      await page.waitForSelector('.label');
      assert.match(page.url(), /^http:\/\/127\.0\.0\.1:9997\/[A-Za-z0-9_-]{22}\/$/);
      assert.is(await page.title(), 'Wormhole: atlas');
      // The page asks every two seconds, and a state may change meanwhile.
      const isLikeList = async () => {
        const drawn = await page.$$eval('.label', (labels) =>
          labels.map((label) => [
            label.querySelector('.id')?.textContent,
            (label as HTMLElement).dataset.state,
          ]),
        );
        const listed = JSON.parse(await succeeds(host, 'list --json')) as { id: string; state: string }[];
        assert.equal(drawn.sort(), listed.map(({ id, state }) => [id, state]).sort());
        return true;
      };
      await host.waitFor(isLikeList, { what: 'the page to show what list does' });
      assert.equal(await overlaps(page), []);
      assert.equal(
        (await page.$$eval('.card .title', (titles) => titles.map(({ textContent }) => textContent))).sort(),
        ['beta', 'beta', 'cache', 'mysql', 'reports', 'shop', 'this host', 'this host', 'wordpress'],
      );
      for (const url of urls) assert.match(url, /^http:\/\/127\.0\.0\.1:9997\//);
      assert.equal(complaints, []);
    });

    test('rates and states change while one looks', async () => {
      const { host, page } = at();
      const text = (id: string) => page.$eval(`[data-link="${id}"] .rate`, (node) => node.textContent ?? '');
      await page.waitForFunction(() =>
        /→ .*\/s .*← .*\/s/.test(document.querySelector('[data-link="web"] .rate')?.textContent ?? ''),
      );
      assert.match(await text('web'), /^→ [\d.]+ [kM]?B\/s {2}← [\d.]+ [kM]?B\/s$/);
      await succeeds(host, 'stop mail');
      await page.waitForFunction(
        () => document.querySelector('[data-link="mail"] .rate')?.textContent === 'stopped',
      );
      await succeeds(host, 'start mail');
      await page.waitForFunction(
        () => document.querySelector('[data-link="mail"] .rate')?.textContent === 'listening',
      );
    });

    test('a click shows what show shows', async () => {
      const { host, page } = at();
      await page.click('[data-link="web"]');
      await page.waitForSelector('#panel table');
      const panel = await page.$eval('#panel', (node) => node.textContent ?? '');
      for (const unit of ['wormhole-web.socket', 'wormhole-web.service', 'active (running)'])
        assert.ok(panel.includes(unit), panel);
      const { link, sessions } = JSON.parse(await succeeds(host, 'show --json web'));
      assert.ok(panel.includes(link.recipe), panel);
      assert.ok(panel.includes(sessions[0].client), panel);
      assert.match(panel, /Started wormhole-web\.service/);
      await page.waitForSelector('#panel .chart canvas');
      assert.is((await page.$$('#panel .chart canvas')).length, 1);
    });

    test('the keyboard leads everywhere, and the focus can be seen', async () => {
      const { page } = at();
      const focused = () =>
        page.evaluate(() => {
          const { activeElement: element } = document;
          return element instanceof HTMLElement
            ? (element.dataset.link ?? element.textContent ?? element.id)
            : '';
        });
      const press = async (...keys: KeyInput[]) => {
        for (const key of keys) await page.keyboard.press(key);
      };
      await press('Escape');
      assert.is(await page.$eval('#panel', (panel) => (panel as HTMLElement).hidden), true);
      assert.is(await focused(), 'web', 'the focus is where the panel was opened');
      const outline = await page.evaluate(
        () => getComputedStyle(document.activeElement ?? document.body).outlineStyle,
      );
      assert.is(outline, 'solid');
      await press('ArrowLeft');
      assert.match(await focused(), /^this host/);
      await press('ArrowRight');
      const beside = await focused();
      assert.ok(['web', 'shop', 'broken', 'reports', 'backup'].includes(beside), beside);
      await press('ArrowDown');
      assert.is.not(await focused(), beside);
      await press('ArrowUp');
      assert.is(await focused(), beside);
      await press('/');
      await page.keyboard.type('mysql');
      const matching = await page.$$eval('.label.match', (labels) =>
        labels.map((label) => (label as HTMLElement).dataset.link),
      );
      assert.equal(matching.sort(), ['beta-reports', 'db', 'shop-db']);
      await press('Escape');
      assert.is(await page.$eval('#search', (input) => (input as HTMLInputElement).value), '');
      await page.focus('[data-link="db"]');
      await press('Enter');
      await page.waitForSelector('#panel table');
      assert.match(await page.$eval('#panel h2', (title) => title.textContent ?? ''), 'db');
      assert.match(await focused(), /✕/);
      await press('Escape');
      assert.is(await focused(), 'db');
      // A place: its links alone.
      await page.focus('.card[aria-label="container shop"] button');
      await press('Enter');
      assert.equal(
        (
          await page.$$eval('.label.match', (labels) =>
            labels.map((label) => (label as HTMLElement).dataset.link),
          )
        ).sort(),
        ['cache', 'shop', 'shop-db'],
      );
      await press('Escape');
      assert.is(await page.$('.filtered'), null);
      // The tab key goes through the map in one step.
      await page.focus('#search');
      await press('Tab');
      assert.ok(await page.evaluate(() => document.activeElement?.closest('#map') !== null));
      await press('Tab');
      assert.ok(await page.evaluate(() => document.activeElement?.closest('#map') === null));
    });

    test('what others write is text, and no script but the own one runs', async () => {
      const { host, page, complaints } = at();
      await page.click('[data-link="reports"]');
      await page.waitForFunction(
        (text) => document.querySelector('.journal')?.textContent?.includes(text),
        {},
        EVIL,
      );
      const panel = await page.$eval('#panel', (node) => node.textContent ?? '');
      assert.is(panel.split(EVIL).length > 2, true, panel);
      assert.is(await page.$$eval('img', (images) => images.length), 0);
      assert.is(await page.evaluate(() => 'hacked' in window), false);
      assert.equal(complaints, []);
      // Were there a hole, the policy would close it.
      const blocked = await page.evaluate(async (text) => {
        const hole = document.createElement('div');
        hole.innerHTML = `${text}<style>body { display: none }</style>`;
        const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.body.append(hole, script);
        const fetched = await fetch('http://127.0.0.1:9998/').then(
          () => true,
          () => false,
        );
        await new Promise((resolve) => setTimeout(resolve, 200));
        const { display } = getComputedStyle(document.body);
        hole.remove();
        script.remove();
        return { hacked: 'hacked' in window, fetched, display };
      }, EVIL);
      assert.equal(blocked, { hacked: false, fetched: false, display: 'flex' });
      await host.waitFor(() => complaints.length >= 3, { what: 'the browser to complain of what was tried' });
      complaints.length = 0;
      await page.keyboard.press('Escape');
    });

    test('a page of another site neither reads nor frames it', async () => {
      const { host, opened, page } = at();
      await host.run(
        `mkdir -p /srv/evil && cat >/srv/evil/index.html && systemd-run --unit evil --working-directory /srv/evil node -e 'require("http").createServer((q,s)=>{console.log(q.url, q.headers.cookie);s.setHeader("content-type","text/html");s.end(require("fs").readFileSync("index.html"))}).listen(8888,"127.0.0.1")'`,
        { input: `<iframe src="${page.url()}"></iframe>` },
      );
      const other = await newPage(opened);
      await host.waitFor(() => other.goto('http://127.0.0.1:8888/'), { what: 'the other site' });
      const outcome = await other.evaluate(async (url) => {
        const read = async (options: RequestInit) => {
          try {
            const { status, type } = await fetch(`${url}api/overview`, {
              credentials: 'include',
              ...options,
            });
            return `${type} ${status}`;
          } catch {
            return 'failed';
          }
        };
        return [
          await read({}),
          await read({ mode: 'no-cors' }),
          await read({ method: 'POST', mode: 'no-cors' }),
        ];
      }, page.url());
      assert.equal(outcome, ['failed', 'failed', 'failed']);
      const frame = other.frames().find((one) => one !== other.mainFrame());
      assert.ok(frame, 'there is a frame');
      assert.not.match(await frame.content(), /<main>/);
      const log = await host.journal('-u', 'evil.service', '-o', 'cat');
      assert.match(log, /^\/ undefined$/m, 'the cookie is not sent to another port');
      assert.not.match(log, /wormhole=/);
      await other.close();
      await host.run('systemctl stop evil');
      await page.bringToFront();
    });

    test('light and dark', async () => {
      const { host, page } = at();
      const backgrounds: string[] = [];
      if (process.env.WORMHOLE_SCREENSHOTS) await spreadOverAnHour(host, page);
      for (const value of ['light', 'dark']) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
        backgrounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
        if (process.env.WORMHOLE_SCREENSHOTS) await photograph(page, value);
      }
      assert.is.not(backgrounds[0], backgrounds[1]);
      await page.emulateMediaFeatures([]);
    });

    test('a page that nobody sees does not ask', async () => {
      const { opened, page, urls } = at();
      const other = await newPage(opened);
      await other.bringToFront();
      await page.waitForFunction(() => document.visibilityState === 'hidden');
      await new Promise((resolve) => setTimeout(resolve, 500));
      urls.length = 0;
      await new Promise((resolve) => setTimeout(resolve, 5000));
      assert.equal(urls, []);
      await other.close();
      await page.bringToFront();
      await page.waitForRequest((request) => request.url().endsWith('api/overview'));
    });

    test(`${MANY} links: frames while it is scrolled and updated`, async () => {
      const { host, page } = at();
      await host.run(
        `mkdir /root/many; for n in $(seq 1 ${MANY}); do printf '[Link]\\nRecipe=url :%s tail url :%s\\n' $((20000 + n)) $((6100 + n % 20)) >/root/many/m$n.wormhole; done`,
      );
      await host.run('wormhole apply -f /root/many', { timeout: 200 });
      await page.waitForFunction((many) => document.querySelectorAll('.label').length > many, {}, MANY);
      assert.equal(await overlaps(page), []);
      const times = await page.evaluate(async () => {
        const map = document.getElementById('map');
        const frames: number[] = [];
        let last = performance.now();
        const end = last + 8_000;
        await new Promise<void>((resolve) => {
          const next = (now: number) => {
            frames.push(now - last);
            last = now;
            if (map) map.scrollTop = (map.scrollTop + 40) % map.scrollHeight;
            if (now < end) requestAnimationFrame(next);
            else resolve();
          };
          requestAnimationFrame(next);
        });
        return frames.slice(1).sort((one, other) => one - other);
      });
      const share = (part: number) => (times[Math.floor(times.length * part)] ?? 0).toFixed(1);
      process.stdout.write(
        `${MANY} links, ${times.length} frames in 8 s: median ${share(0.5)} ms, p95 ${share(0.95)} ms, p99 ${share(0.99)} ms, longest ${share(0.9999)} ms\n`,
      );
      assert.ok(times.length > 1, 'it moves');
      await page.click('[data-link="m150"]');
      await page.waitForSelector('#panel table');
    });

    test('nothing is left', async () => {
      const { host, beta, opened, complaints } = at();
      assert.equal(complaints, []);
      await opened.close();
      await host.run('systemctl stop wormholed-web.socket wormholed-web.service traffic traffic2');
      await succeeds(beta, 'delete --all');
      await host.run('wormhole delete --all', { timeout: 200 });
      await leavesNothing(host);
    });
  },
);

/** Links of each kind, some of which carry bytes. */
async function makeLinks(host: Host, beta: Host): Promise<void> {
  const echo = `sh -c 'socat TCP-LISTEN:80,fork,reuseaddr EXEC:cat & exec socat TCP-LISTEN:3306,fork,reuseaddr EXEC:cat'`;
  for (const name of ['mysql', 'cache'])
    await host.run(`docker run -d --name ${name} --network none wormhole/tools ${echo}`);
  for (const name of ['wordpress', 'shop'])
    await host.run(
      `docker run -d --name ${name} --network none wormhole/tools socat TCP-LISTEN:80,fork,reuseaddr EXEC:cat`,
    );
  for (const recipe of [
    'id web url :8080 tail url :80 docker-ns wordpress',
    'id shop url :8081 tail url :80 docker-ns shop',
    'id db url :3306 docker-ns wordpress tail url :3306 docker-ns mysql',
    'id shop-db url :3306 docker-ns shop tail url :3306 docker-ns mysql',
    'id cache url :6379 docker-ns shop tail url :80 docker-ns cache',
    'id mail url :2525 docker-ns wordpress tail url :25',
    'id backup url :8730 trigger remote beta tail url :873',
    'id broken url :4002 tail url :4101',
    `id reports url :4003 trigger docker-run '-e "A=${EVIL}" wormhole/tools socat TCP-LISTEN:4003,bind=127.0.0.1,fork EXEC:cat'`,
  ])
    await succeeds(host, `create ${recipe}`);
  await succeeds(beta, `create id reports url :3307 remote ${host.address} tail url :3306 docker-ns mysql`);
  await host.run('nc -w 5 127.0.0.1 4002 </dev/null', { check: false });
  await host.run('logger --journald', {
    input: `MESSAGE=${EVIL}\nSYSLOG_IDENTIFIER=${EVIL}\nPRIORITY=3\nOBJECT_SYSTEMD_UNIT=wormhole-reports.service\n`,
  });
  await host.run(
    `systemd-run --unit traffic sh -c 'while :; do head -c 90000 /dev/zero; sleep 0.05; done | nc 127.0.0.1 8080 >/dev/null'`,
  );
  await host.run(
    `systemd-run --unit traffic2 sh -c 'while :; do head -c 9000 /dev/zero; sleep 0.05; done | docker exec -i shop nc 127.0.0.1 3306 >/dev/null'`,
  );
}

/** Opens a page. What is evaluated in one may call `__name`, which the compiler of the tests adds to functions that have one. */
async function newPage({ browser }: HostBrowser): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000 * SLOWNESS);
  await page.evaluateOnNewDocument('globalThis.__name = (one) => one;');
  return page;
}

/** Pairs of cards and labels that overlap in the browser. */
function overlaps(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const boxes = [...document.querySelectorAll('.card, .label')].map((node) => ({
      name: node.textContent ?? '',
      box: node.getBoundingClientRect(),
    }));
    return boxes.flatMap(({ name, box: one }, at) =>
      boxes
        .slice(at + 1)
        .filter(
          ({ box: other }) =>
            one.left < other.right &&
            other.left < one.right &&
            one.top < other.bottom &&
            other.top < one.bottom,
        )
        .map((other) => `${name} and ${other.name}`),
    );
  });
}

/** Has what the links have carried so far appear as if it had been carried in the last hour, a sample every ten seconds. */
async function spreadOverAnHour(host: Host, page: Page): Promise<void> {
  await host.run(
    'head -c 3G /dev/zero | timeout 60 nc -N 127.0.0.1 8080 >/dev/null; systemctl stop wormholed-web.service',
    { timeout: 90 },
  );
  const links = JSON.parse(await succeeds(host, 'list --json')) as {
    id: string;
    counters?: { bytesFromClients: number; bytesFromTarget: number };
  }[];
  const wave = (at: number, speed: number) =>
    1 + 0.5 * Math.sin(at / speed) + 0.3 * Math.sin(at / 7) + 0.2 * Math.sin(at * 2.3);
  const samples = links.map(({ id, counters }, link) => {
    const weights = Array.from({ length: 360 }, (_, at) => wave(at, 40 + 13 * link));
    const all = weights.reduce((sum, one) => sum + one, 0);
    let part = 0;
    const own = weights.map((weight, at) => {
      part += weight / all;
      const { bytesFromClients = 0, bytesFromTarget = 0 } = counters ?? {};
      const time = Date.now() - (360 - at) * 10_000;
      return [time, Math.floor(bytesFromClients * part), Math.floor(bytesFromTarget * part), 1];
    });
    return [id, own];
  });
  await host.run('cat >/run/private/wormholed-web/history && chmod 644 /run/private/wormholed-web/history', {
    input: JSON.stringify(Object.fromEntries(samples)),
  });
  await page.reload();
  await page.waitForSelector('.label .flows');
}

async function photograph(page: Page, scheme: string): Promise<void> {
  mkdirSync(IMAGES, { recursive: true });
  if (scheme === 'dark') {
    await page.click('[data-link="web"]');
    await page.waitForSelector('#panel table');
  }
  await page.mouse.move(700, 640);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await page.screenshot({ path: `${IMAGES}web-${scheme}.png` as const });
  await page.keyboard.press('Escape');
}
