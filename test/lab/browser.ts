import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, launch } from 'puppeteer-core';
import type { Host } from './rig/host.ts';
import { SLOWNESS } from './rig/shell.ts';

/** Debian's chromium, in the network namespace of a host: what it reaches is what a browser on that host would. */
export interface HostBrowser {
  browser: Browser;
  close(): Promise<void>;
}

/** Starts chromium with a new profile. It talks to this process through a pipe, and to the host alone. */
export async function startBrowser(host: Host): Promise<HostBrowser> {
  const profile = mkdtempSync(join(tmpdir(), 'wormhole-chromium-'));
  const browser = await launch({
    executablePath: '/usr/sbin/ip',
    ignoreDefaultArgs: true,
    args: [
      ...['netns', 'exec', host.namespace, 'chromium'],
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
      ...['--hide-scrollbars', '--force-color-profile=srgb', `--user-data-dir=${profile}`],
      ...['--remote-debugging-pipe', 'about:blank'],
    ],
    pipe: true,
    timeout: 60_000 * SLOWNESS,
  });
  return {
    browser,
    async close() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
