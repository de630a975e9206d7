import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

/*
 * In which order a link is removed. A kill, and a power cut after it, may come between any two of these: the link has to be known
 * for as long as anything of it is there, and no client may start again what is being removed.
 */

const test = suite('the removal of a link');

const directory = mkdtempSync(join(tmpdir(), 'wormhole-removal-'));
test.after(() => rmSync(directory, { recursive: true }));

/** What happened, in order: `stop UNIT`, `remove CONTAINER with volumes`, `unlink PATH`, `sync DIRECTORY` and so on. */
let events: string[] = [];

test.before(() => {
  const log = join(directory, 'calls');
  const isRoot = process.geteuid?.() === 0;
  const program = fileURLToPath(new URL('./removal-run.ts', import.meta.url));
  const { status, stderr } = spawnSync(
    'unshare',
    [
      ...(isRoot ? [] : ['--map-root-user']),
      '--mount',
      ...['strace', '-f', '-y', '-q', '-s', '4096', '-e', 'signal=none', '-o', log],
      ...['-e', 'trace=access,faccessat,faccessat2,unlink,unlinkat,rmdir,fsync,close'],
      ...[process.execPath, '--import', 'tsx', program],
    ],
    { encoding: 'utf8', env: { ...process.env, WORMHOLE_STATE_DIRECTORY: join(directory, 'state') } },
  );
  assert.is(status, 0, stderr);
  events = readFileSync(log, 'utf8').split('\n').flatMap(eventOf);
  events = events.slice(events.indexOf('begin') + 1, events.indexOf('end'));
});

/** What a line of strace tells. */
function eventOf(line: string): string[] {
  const told = /access\w*\(.*"\/told\/([^"]+)"/.exec(line)?.[1];
  if (told !== undefined) return [told];
  const synced = /fsync\(\d+<([^>]+)>/.exec(line)?.[1];
  if (synced !== undefined) return [`sync ${synced}`];
  const released = /close\(\d+<[^>]*\/(\w+\.lock)>\)/.exec(line)?.[1];
  if (released !== undefined) return [`release ${released}`];
  const removed = /(?:unlink|unlinkat|rmdir)\(.*?"([^"]+)".* = 0$/.exec(line)?.[1];
  return removed === undefined ? [] : [`unlink ${removed}`];
}

const UNITS = '/etc/systemd/system';
const unitFile = (name: string) => `unlink ${UNITS}/wormhole-${name}`;

/** Makes sure that all of these happened, each of `first` before each of `then`. */
function happens(first: string[], then: string[]): void {
  for (const event of [...first, ...then])
    assert.ok(events.includes(event), `${event} in\n${events.join('\n')}`);
  const last = Math.max(...first.map((event) => events.lastIndexOf(event)));
  for (const event of then) assert.ok(last < events.indexOf(event), `${first} before ${event}`);
}

test('heads are closed before forwarders are stopped, and these before containers are removed', () => {
  happens(
    ['stopped wormhole-a.socket', 'stopped wormhole-b.socket'],
    ['stop wormhole-a.service', 'stop wormhole-b.service'],
  );
  happens(
    ['stopped wormhole-a.service', 'stopped wormhole-b.service'],
    ['remove wormhole-a with volumes', 'remove wormhole-b with volumes'],
  );
});

test('a container goes before the holder of its network, with anonymous volumes, and both before their units stop', () => {
  for (const id of ['a', 'b']) {
    happens([`remove wormhole-${id} with volumes`], [`remove wormhole-${id}-netns with volumes`]);
    happens([`remove wormhole-${id}-netns with volumes`], [`stop wormhole-${id}-run.service`]);
    happens([`stopped wormhole-${id}-run.service`], [`stop wormhole-netns@run:${id}.service`]);
  }
});

test('no unit file goes while anything runs, or while the kernel or a boot could start it', () => {
  const units = ['a', 'b'].flatMap((id) => [`${id}.socket`, `${id}.service`, `${id}-run.service`]);
  happens(
    ['stopped wormhole-netns@run:a.service', 'stopped wormhole-netns@run:b.service'],
    [`unlink ${UNITS}/sockets.target.wants/wormhole-a.socket`],
  );
  happens([`unlink ${UNITS}/sockets.target.wants/wormhole-a.socket`], [`sync ${UNITS}/sockets.target.wants`]);
  happens([`sync ${UNITS}/sockets.target.wants`], units.map(unitFile));
});

test('the file with the recipe goes last, and what is removed outlives a power cut', () => {
  const others = ['a.service', 'a-run.service', 'b.socket', 'b.service', 'b-run.service'];
  happens(
    ['unlink /run/wormhole/links/a', 'unlink /run/wormhole/links/b', ...others.map(unitFile)],
    [unitFile('a.socket')],
  );
  happens([unitFile('a.socket')], [`sync ${UNITS}`]);
  happens([`sync ${UNITS}`], ['forget wormhole-a.socket']);
});

test('what forwarders have counted goes while no other command can record it again', () => {
  happens(['unlink /run/wormhole/counters/a', 'unlink /run/wormhole/counters/b'], ['release traffic.lock']);
});

test.run();
