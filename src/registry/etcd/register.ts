import { rmSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { makeDirectory, readIfExists, writeAtomically } from '../../system/files.js';
import { createEtcdClient, type EtcdClient, EtcdFault } from './client.js';
import type { EtcdConfig } from './config.js';
import { base64, machineText } from './machines.js';

/** After this time without renewal, the key of a machine goes, s. The timer renews it every 20 s. */
const LEASE_SECONDS = 60;

/** What this machine has in etcd: a lease, and a key with it. */
const LEASE_FILE = '/run/wormhole/etcd-lease';

const leaseNote = v.object({ lease: v.string(), key: v.string(), value: v.string() });
const grantBody = v.object({ ID: v.string() });
const keepAliveBody = v.object({ result: v.optional(v.object({ TTL: v.optional(v.string(), '0') })) });
const anything = v.unknown();

type Lease = v.InferOutput<typeof leaseNote>;

/**
 * Says in etcd what this machine publishes, under one key with a lease, or renews that. Without a service, the key goes.
 *
 * @param leaseFile where the lease is noted
 * @returns a line for the journal when the key is new, has changed or has gone
 * @throws EtcdFault
 */
export async function registerInEtcd(
  config: EtcdConfig,
  services: string[],
  leaseFile = LEASE_FILE,
): Promise<string | undefined> {
  const client = createEtcdClient(config);
  const former = readLease(leaseFile);
  if (services.length === 0) {
    if (!former) return undefined;
    const line = await revoke(client, former);
    rmSync(leaseFile, { force: true });
    return line;
  }
  const isAlive = former !== undefined && (await renew(client, former.lease));
  // Renewing has shown the address, if etcd had to be asked at all.
  const lease = isAlive ? former.lease : await grant(client);
  const key = `${config.prefix}${config.address ?? ownAddress(client)}`;
  const value = machineText(services);
  if (isAlive && former.key === key && former.value === value) return undefined;
  if (isAlive && former.key !== key)
    await client.call('/v3/kv/deleterange', { key: base64(former.key) }, anything);
  await client.call('/v3/kv/put', { key: base64(key), value: base64(value), lease }, anything);
  makeDirectory(dirname(leaseFile));
  writeAtomically(leaseFile, JSON.stringify({ lease, key, value } satisfies Lease), { mode: 0o600 });
  return `etcd has ${key}: ${services.join(', ')}`;
}

async function grant(client: EtcdClient): Promise<string> {
  return (await client.call('/v3/lease/grant', { TTL: LEASE_SECONDS }, grantBody)).ID;
}

/** Whether the lease was still there. */
async function renew(client: EtcdClient, lease: string): Promise<boolean> {
  const { result } = await client.call('/v3/lease/keepalive', { ID: lease }, keepAliveBody);
  return Number(result?.TTL ?? 0) > 0;
}

async function revoke(client: EtcdClient, { lease, key }: Lease): Promise<string> {
  if (await renew(client, lease)) await client.call('/v3/lease/revoke', { ID: lease }, anything);
  return `etcd has ${key} no more: nothing is published here`;
}

/** @throws EtcdFault when etcd is on this machine */
function ownAddress(client: EtcdClient): string {
  const address = client.localAddress() ?? '';
  if (address === '' || address.startsWith('127.') || address === '::1')
    throw new EtcdFault(
      'etcd is reached on this machine itself: say Address=, at which others reach this machine',
    );
  // An address of one link means nothing elsewhere.
  if (isIPv6(address) && address.toLowerCase().startsWith('fe80'))
    throw new EtcdFault(`etcd is reached from ${address}: say Address=, at which others reach this machine`);
  return address;
}

function readLease(path: string): Lease | undefined {
  const text = readIfExists(path);
  if (text === undefined) return undefined;
  try {
    return v.parse(leaseNote, JSON.parse(text));
  } catch {
    // A new lease takes its place, and the former one ends by itself.
    return undefined;
  }
}
