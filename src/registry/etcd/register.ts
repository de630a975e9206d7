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
const rangeBody = v.object({
  kvs: v.optional(
    v.array(v.object({ value: v.optional(v.string(), ''), lease: v.optional(v.string()) })),
    [],
  ),
});
const anything = v.unknown();

type Lease = v.InferOutput<typeof leaseNote>;

/**
 * Says in etcd what this machine publishes, under one key with a lease, or renews that. Without a service, the key goes.
 *
 * @param path the file in which the lease is noted
 * @returns a line for the journal when the key is new, has changed or has gone
 * @throws EtcdFault
 */
export async function registerInEtcd(
  config: EtcdConfig,
  services: string[],
  path = LEASE_FILE,
): Promise<string | undefined> {
  const client = createEtcdClient(config);
  const former = readLease(path);
  if (services.length === 0) return former && revoke(client, former, path);
  const isAlive = former !== undefined && (await renew(client, former.lease));
  // Renewing has shown the address, if etcd had to be asked at all.
  const lease = isAlive ? former.lease : await grant(client);
  const key = `${config.prefix}${config.address ?? requireOwnAddress(client.localAddress())}`;
  const value = machineText(services);
  const isSame = isAlive && former.key === key && former.value === value;
  if (isSame && (await isAsWritten(client, former))) return undefined;
  if (isAlive && former.key !== key)
    await client.call('/v3/kv/deleterange', { key: base64(former.key) }, anything);
  await client.call('/v3/kv/put', { key: base64(key), value: base64(value), lease }, anything);
  makeDirectory(dirname(path));
  writeAtomically(path, JSON.stringify({ lease, key, value } satisfies Lease), { mode: 0o600 });
  const written = `${key}: ${services.join(', ')}`;
  return isSame ? `etcd has ${written} again, which someone else had changed` : `etcd has ${written}`;
}

async function grant(client: EtcdClient): Promise<string> {
  return (await client.call('/v3/lease/grant', { TTL: LEASE_SECONDS }, grantBody)).ID;
}

/** Whether the lease was still there. */
async function renew(client: EtcdClient, lease: string): Promise<boolean> {
  const { result } = await client.call('/v3/lease/keepalive', { ID: lease }, keepAliveBody);
  return Number(result?.TTL ?? 0) > 0;
}

/** Whether the key is what this machine has written last. Others can write there too: an administrator, or a restored backup. */
async function isAsWritten(client: EtcdClient, { lease, key, value }: Lease): Promise<boolean> {
  const { kvs } = await client.call('/v3/kv/range', { key: base64(key) }, rangeBody);
  return kvs.length === 1 && kvs[0]?.value === base64(value) && kvs[0].lease === lease;
}

async function revoke(client: EtcdClient, { lease, key }: Lease, path: string): Promise<string> {
  if (await renew(client, lease)) await client.call('/v3/lease/revoke', { ID: lease }, anything);
  rmSync(path, { force: true });
  return `removed ${key} from etcd: nothing is published here any more`;
}

/**
 * The address at which others reach this machine: the one that faces etcd.
 *
 * @throws EtcdFault when it means nothing to others
 */
export function requireOwnAddress(facing: string | undefined): string {
  const address = facing ?? '';
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
