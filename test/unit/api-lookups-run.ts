import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectMachine } from '../../src/api/connect.ts';

/*
 * Connects to machines in a network namespace whose name server answers nothing, and prints as JSON the error of each, in the order
 * in which they came.
 */

execFileSync('ip', ['link', 'set', 'lo', 'up']);
const directory = mkdtempSync(join(tmpdir(), 'wormhole-lookups-'));
const files = {
  hosts: '127.0.0.1 localhost good.example\n',
  // The C library waits for longer than the product does: its error would be another one.
  'resolv.conf': 'nameserver 127.0.0.1\noptions timeout:8\n',
  'nsswitch.conf': 'hosts: files dns\n',
};
for (const [name, text] of Object.entries(files)) {
  writeFileSync(join(directory, name), text);
  execFileSync('mount', ['--bind', join(directory, name), `/etc/${name}`]);
}
const keyFile = join(directory, 'key.secret');
writeFileSync(keyFile, `${randomBytes(16).toString('hex')}\n`, { mode: 0o600 });
const silent = createSocket('udp4').bind(53, '127.0.0.1');
await once(silent, 'listening');

const errors: string[] = [];
const names = ['one', 'two', 'three', 'four', 'five', 'good'].map((name) => `${name}.example`);
await Promise.all(
  names.map((host) =>
    connectMachine({ endpoint: { kind: 'tcp', host, port: 9999 }, keyFile }).catch(({ message }) =>
      errors.push(message),
    ),
  ),
);
process.stdout.write(JSON.stringify(errors));
process.exit();
