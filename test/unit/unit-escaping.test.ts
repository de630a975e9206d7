import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Link } from '../../src/recipe/link.ts';
import { escapeUnitName } from '../../src/units/escape.ts';
import { DEFAULT_OPTIONS, type LinkPlan, planLink } from '../../src/units/plan.ts';
import { readLink } from '../../src/units/read.ts';
import { renderLink } from '../../src/units/render.ts';
import { readTunnel, renderTunnel, type Tunnel } from '../../src/units/tunnel.ts';
import { installation as plain, renderer, tunnelTemplate } from './renderer.ts';
import { readCommandLine, readSettings } from './unit-syntax.ts';

/*
 * Whatever a value holds, a unit file has the settings of its template and no others, and systemd reads each value as it was meant,
 * or rendering fails. The names of things are chosen by others.
 */

const TEMPLATES = new URL('../../templates/', import.meta.url);
const source = (name: string) => readFileSync(new URL(`${name}.hbs`, TEMPLATES), 'utf8');
/** Texts that mean something to systemd, to a shell, to us or to a terminal, at the beginning, in the middle and at the end. */
const odd = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...'\\"\'%$ #;=[]{}@:|-/\n\r\t\0\u007f\u0085\u2028\ufeffü𝔸',
        '\\\\',
        '%i',
        '$HOME',
        '\\\n',
        '\n[Service]\n',
      ),
      fc.constantFrom(' ExecStart=/bin/evil', '\\x0a', '}}', '{{id}}', '&lt;', 'a', 'b'),
    ),
    { minLength: 1, maxLength: 8 },
  )
  .map((parts) => parts.join(''));

/** A file name that Linux allows, other than the two special ones. */
const fileName = odd.map((text) => text.replaceAll(/[/\0]/g, '_')).filter((text) => !/^\.+$/.test(text));

/** What may be in a recipe: no control characters (recipe/parse.ts). */
const netns = fileName.map((text) => text.replaceAll(/\p{Cc}/gu, '_'));

function files(plan: LinkPlan, installation = plain): { name: string; text: string }[] {
  return planLink(plan).flatMap((part) => renderLink(part, { ...renderer, installation }));
}

/** A link of which everything that may be odd is. */
function plan(netnsName: string, bonds: { keyFile: string; text: string }): LinkPlan {
  const end = (port: number) => ({
    protocol: 'tcp' as const,
    host: '127.0.0.1',
    port,
    place: { kind: 'netns' as const, name: netnsName },
  });
  const link: Link = {
    id: 'a',
    head: end(1),
    trigger: false,
    child: { kind: 'chain', link: { id: 'b', head: end(2), tail: end(3), trigger: false } },
  };
  return {
    link,
    options: DEFAULT_OPTIONS,
    far: { partId: bonds.text, keyFile: bonds.keyFile },
    owner: {
      partId: bonds.text,
      id: bonds.text,
      machine: bonds.text,
      address: bonds.text,
      tunnel: bonds.text,
    },
  };
}

/** The sections and settings of a unit file, without their values. */
const shape = (text: string) => readSettings(text).map(({ section, name }) => `[${section}] ${name}`);

const settingOf = (text: string, name: string) =>
  readSettings(text).find((setting) => setting.name === name)?.value ?? '';

const BONDS = { keyFile: '/etc/wormhole/key.secret', text: 'plain' };
const expected = files(plan('blue', BONDS)).map(({ text }) => shape(text));

test('a network namespace of any name that a recipe can have', () => {
  fc.assert(
    fc.property(netns, (name) => {
      const planned = plan(name, BONDS);
      const rendered = files(planned);
      for (const [at, { text }] of rendered.entries()) {
        assert.equal(shape(text), expected[at], text);
        assert.not.match(settingOf(text, 'Description').replaceAll('%%', ''), '%');
      }
      const stored = readLink(rendered[0]?.text ?? '') as LinkPlan;
      assert.equal(stored.link, planned.link);
      const forwarder = rendered.find(({ name: unit }) => unit === 'wormhole-b.service')?.text ?? '';
      assert.is(
        settingOf(forwarder, 'NetworkNamespacePath'),
        `/run/wormhole/netns/netns:${escapeUnitName(name).replaceAll('%', '%%')}`,
      );
      const words = readCommandLine(settingOf(forwarder, 'ExecStart'));
      assert.is(words[words.indexOf('--place') + 1], `netns ${name}`);
    }),
    { numRuns: 2_000 },
  );
});

test('what other machines and options bring is as it was, or refused with a message', () => {
  let count = 0;
  fc.assert(
    fc.property(odd, odd, (keyFile, text) => {
      for (const bonds of [
        { ...BONDS, keyFile: `/root/${keyFile}` },
        { ...BONDS, text },
      ]) {
        let rendered: ReturnType<typeof files>;
        try {
          rendered = files(plan('blue', bonds));
        } catch (error) {
          assert.match((error as Error).message, /^".*" cannot stand in a unit file/);
          continue;
        }
        for (const [at, unit] of rendered.entries()) assert.equal(shape(unit.text), expected[at], unit.text);
        const { far, owner } = readLink(rendered[0]?.text ?? '') as LinkPlan;
        assert.is(far?.keyFile, bonds.keyFile);
        assert.equal(owner, plan('blue', bonds).owner);
        count += 1;
      }
    }),
    { numRuns: 2_000 },
  );
  assert.ok(count > 400, `${count} were rendered`);
});

test('a program that is installed in a directory of any name', () => {
  let count = 0;
  fc.assert(
    fc.property(fileName, fileName, (prefix, flag) => {
      const installation = {
        ...plain,
        node: `/opt/${prefix}/node`,
        cli: `/opt/${prefix}/cli.js`,
        forwarder: `/opt/${prefix}/forwarder.js`,
        flags: [`--${flag}`],
        files: [`/opt/${prefix}/node`, `/opt/${prefix}/forwarder.js`],
        libraries: [`/opt/${prefix}`],
      };
      let rendered: ReturnType<typeof files>;
      try {
        rendered = files(plan('blue', BONDS), installation);
      } catch (error) {
        assert.match((error as Error).message, /^".*" cannot stand in a unit file/);
        return;
      }
      for (const [at, { text }] of rendered.entries()) assert.equal(shape(text), expected[at], text);
      const forwarder = rendered.find(({ name }) => name === 'wormhole-b.service')?.text ?? '';
      const [node, ...words] = readCommandLine(settingOf(forwarder, 'ExecStart'));
      assert.is(node, installation.node);
      assert.equal(words.slice(0, 2), [`--${flag}`, installation.forwarder]);
      const binds = readSettings(forwarder).flatMap(({ name, value }) =>
        name === 'BindReadOnlyPaths' ? readCommandLine(value)[0] : [],
      );
      assert.equal(binds.slice(0, 3), [
        ...installation.files.map((path) => `-${path}`),
        ...installation.libraries,
      ]);
      count += 1;
    }),
    { numRuns: 2_000 },
  );
  assert.ok(count > 400, `${count} were rendered`);
});

test('a tunnel', () => {
  const made: Tunnel = {
    id: '0123456789abcdef',
    peer: 'beta',
    machine: '0123456789abcdef',
    outer: { local: '10.0.0.1', remote: '10.0.0.2' },
    inner: { local: '100.64.0.1', remote: '100.64.0.2' },
    mode: 'udp',
    asked: true,
    keyFile: '/etc/wormhole/key.secret',
  };
  const shapeOf = (tunnel: Tunnel) => shape(renderTunnel(tunnel, plain, tunnelTemplate).text);
  const usual = shapeOf(made);
  let count = 0;
  fc.assert(
    fc.property(odd, (text) => {
      for (const tunnel of [
        { ...made, peer: text },
        { ...made, keyFile: text },
        { ...made, machine: text },
        { ...made, id: text },
        { ...made, outer: { local: text, remote: text } },
        { ...made, inner: { local: text, remote: text } },
      ]) {
        try {
          assert.equal(shapeOf(tunnel), usual);
        } catch (error) {
          assert.match((error as Error).message, /^".*" cannot stand in a unit file/);
          continue;
        }
        count += 1;
        if (tunnel.peer === text || tunnel.keyFile === text)
          assert.equal(readTunnel(renderTunnel(tunnel, plain, tunnelTemplate).text), tunnel);
      }
    }),
    { numRuns: 1_000 },
  );
  assert.ok(count > 400, `${count} were rendered`);
});

test('each value in a template says how it is escaped', () => {
  for (const file of readdirSync(TEMPLATES)) {
    const text = source(file.replace('.hbs', ''));
    for (const [mustache, inside = ''] of text.matchAll(/\{\{([^}]*)\}\}/g)) {
      const isBlock = /^[#/]|^else$/.test(inside);
      assert.ok(
        isBlock || /^(argument|bind|description|path|plain|program|word) [\w.]+$/.test(inside),
        `${file}: ${mustache}`,
      );
    }
  }
});

test.run();
