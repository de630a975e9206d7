import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EtcdConfig, readEtcdConfig } from '../../src/registry/etcd/config.ts';
import { registerInEtcd } from '../../src/registry/etcd/register.ts';

/*
 * Machines that publish services, as far as etcd sees them: node machines.cjs DIRECTORY '{"machines": N, "services": N, "copies": N}'. Each says
 * every 20 s what it publishes, as wormhole-services-register.timer has a real one do, with the same code. The services are dealt out to the
 * machines in turn, each to as many as `copies` says. DIRECTORY gets the leases, and the file `count` with how often that has been done.
 */

/** How many machines and services there are. */
export interface Fleet {
  machines: number;
  services: number;
  /** How many machines publish each service. */
  copies: number;
}

/** OnUnitInactiveSec= of the timer. */
const EVERY_MS = 20_000;

const [, , directory = '', text = ''] = process.argv;
const { machines, services, copies } = JSON.parse(text) as Fleet;
const config = requireConfig();

function requireConfig(): EtcdConfig {
  const found = readEtcdConfig();
  if (!found) throw new Error('there is no etcd.conf');
  return found;
}

const published = Array.from({ length: machines }, (): string[] => []);
for (let n = 0; n < services * copies; n++) published[n % machines]?.push(`service-${n % services}`);

const done = { registrations: 0, failures: 0, slowestMs: 0 };

async function register(n: number): Promise<void> {
  const began = performance.now();
  try {
    // As a machine that nobody is: nothing answers there.
    const address = `10.99.${n >> 8}.${n & 255}`;
    await registerInEtcd(
      { ...config, address, tokenFile: `${directory}/token-${n}` },
      published[n] ?? [],
      `${directory}/lease-${n}`,
    );
    done.registrations += 1;
  } catch (error) {
    done.failures += 1;
    console.error(`machine ${n}: ${(error as Error).message}`);
  }
  done.slowestMs = Math.max(done.slowestMs, Math.round(performance.now() - began));
}

async function live(n: number): Promise<never> {
  // Machines were not all started in the same second.
  await sleep((EVERY_MS * n) / machines);
  for (;;) {
    await register(n);
    await sleep(EVERY_MS);
  }
}

for (let n = 0; n < machines; n++) void live(n);
setInterval(() => writeFileSync(`${directory}/count`, JSON.stringify(done)), 500);
