import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseOptions } from '../options.ts';
import { buildPrograms } from '../programs.ts';
import { stopAll } from './relays.ts';
import { RESULTS } from './results.ts';
import { benchScale } from './scale.ts';
import { benchStreams, missingForStreams } from './tcp.ts';
import { benchDatagrams, missingForDatagrams } from './udp.ts';
import { BESIDE_UNITS } from './units.ts';

/*
 * Compares the forwarder with other relays on this machine: every round puts every load on every relay in turn, so
 * that what else the machine does hits all alike; the tables show medians. Nothing here asserts a time.
 */

/** What is measured unless parts are named, and all of it. */
const USUAL = ['tcp', 'udp'];
const PARTS = [...USUAL, 'scale'];

const { values, positionals } = parseOptions('bench', {
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string' },
    scripts: { type: 'string', default: '600' },
    only: { type: 'string', default: '' },
    loads: { type: 'string', default: '' },
    workers: { type: 'string', default: '' },
    compare: { type: 'string', multiple: true, default: [] },
    links: { type: 'string', default: '10,100,300,1000' },
    units: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(
    [
      `npm run bench -- [${PARTS.join('|')}…] [OPTIONS]: these parts, or ${USUAL.join(' and ')}`,
      '--rounds N          rounds (3)',
      '--seconds N         duration of a load (tcp: 2, udp: 1)',
      '--scripts N         random scripts that have to end as on a direct connection (600)',
      '--only NAME,NAME    these relays only',
      '--loads TEXT,TEXT   of tcp, only loads with a column whose title contains one of these',
      '--workers N,auto   tcp with so many threads too (see --workers of wormhole create); name loads, of which 64 streams is one',
      '--compare NAME=PATH another build of the forwarder too: the path of its forwarder.cjs; may be repeated',
      "--units             tcp also as systemd runs it, with and without the unit's sandbox; as root, on the lab's Debian",
      "--links N,N         scale: commands and boot of a host with so many links (10,100,300,1000); as root, on the lab's Debian",
      `Each part writes its results to ${RESULTS}/PART.json and .svg after every round.`,
    ].join('\n'),
  );
  process.exit(0);
}

const wrong = positionals.find((part) => !PARTS.includes(part));
if (wrong !== undefined) {
  console.error(`bench: there is no part "${wrong}": say ${PARTS.join(' or ')}`);
  process.exit(2);
}
const parts = positionals.length > 0 ? positionals : USUAL;
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error(`bench: --rounds ${values.rounds}: give a whole number from 1`);
  process.exit(2);
}

if (!/^\d+(,\d+)*$/.test(values.links)) {
  console.error(`bench: --links ${values.links}: give numbers, such as 10,100`);
  process.exit(2);
}

if (process.env[BESIDE_UNITS] === undefined) {
  const absent = new Set([
    ...(parts.includes('tcp') ? missingForStreams() : []),
    ...(parts.includes('udp') ? missingForDatagrams() : []),
  ]);
  if (absent.size > 0)
    console.log(`Missing Debian packages; install them with: apt-get install -y ${[...absent].join(' ')}`);
  buildPrograms();
}
const directory = mkdtempSync(join(tmpdir(), 'wormhole-bench-'));
// nginx reads from it as another user.
chmodSync(directory, 0o755);
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const builds = values.compare.map((text) => {
  const [name = '', path = ''] = text.split('=');
  return { name, path };
});
const only = values.only.split(',').filter(Boolean);
for (const part of parts) {
  if (part === 'tcp') {
    await benchStreams({
      rounds,
      seconds: Number(values.seconds ?? 2),
      scripts: Number(values.scripts),
      only,
      builds,
      loads: values.loads.split(',').filter(Boolean),
      workers: values.workers.split(',').filter(Boolean),
      besideUnits: values.units,
      args: process.argv.slice(2).filter((arg) => !positionals.includes(arg)),
      directory,
    });
  } else if (part === 'scale') {
    await benchScale(values.links.split(',').map(Number));
  } else {
    await benchDatagrams({ rounds, seconds: Number(values.seconds ?? 1), only, builds, directory });
  }
  stopAll();
}
process.exit(0);
