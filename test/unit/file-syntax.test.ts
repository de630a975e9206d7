import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FaultyFile, parseDeclaration } from '../../src/units/declaration.ts';
import { hasText, readDropIns, renderDropIns } from '../../src/units/declared-drop-ins.ts';
import { parseFile } from '../../src/units/syntax.ts';
import { expandSpecifiers, quoteForUnit, splitWords } from '../../src/units/words.ts';

/* Files of links: systemd.syntax(7), and what they describe. */

const settings = (text: string) =>
  parseFile(text).settings.map(({ section, key, value, line }) => [section, key, value, line]);

const link = (text: string, name = 'web') => {
  const read = parseDeclaration([{ path: 'f', text }], { name, hostname: 'box.example' });
  if (read.kind !== 'link') throw new Error('a tunnel');
  return read;
};

const faults = (text: string, name = 'web') => {
  try {
    link(text, name);
    return [];
  } catch (error) {
    if (!(error instanceof FaultyFile)) throw error;
    return error.faults.map(({ path, line, message }) => `${path}:${line}: ${message}`);
  }
};

test('lines: comments, blanks, continuation with comments in between, sections that come twice', () => {
  const text = `# comment
; another
 [A]
  x = 1
x=2 \\
# in between
  3\\
   4
[B]
y=
[A]
z==\\\\
w=end \\`;
  assert.equal(settings(text), [
    ['A', 'x', '1', 4],
    ['A', 'x', '2  3 4', 5],
    ['B', 'y', '', 10],
    ['A', 'z', '=\\\\', 12],
    ['A', 'w', 'end', 13],
  ]);
  const [, second] = parseFile(text).settings;
  assert.equal(
    ['2', '3', '4'].map((char) => second?.lineAt(second.value.indexOf(char))),
    [5, 7, 8],
  );
});

test('lines that systemd would not understand, which are not quoted', () => {
  assert.equal(
    parseFile('a=b\n[A\n[A]\nsecret\n=c').faults.map(({ line }) => line),
    [1, 2, 4, 5],
  );
  assert.not.match(JSON.stringify(parseFile('[A]\nhunter2').faults), /hunter2/);
});

test('each such line is told what is wrong with it', () => {
  const told = (text: string) => parseFile(text).faults.map(({ message }) => message);
  const assignment = 'expected KEY=VALUE; a line that goes on in the next one ends with a backslash';
  assert.equal(told('a=b\n'), ['this stands before the first section, such as [Link]']);
  assert.equal(told('[A\n'), ['a section is written [NAME]']);
  assert.equal(told('[A]\nx\n=y\n =y\n'), [assignment, assignment, assignment]);
});

test('a byte order mark counts only at the beginning, and blanks only inside', () => {
  assert.equal(settings('\ufeff[A]\n\t x \t = \t a b \t \r\n'), [['A', 'x', 'a b', 2]]);
  assert.equal(parseFile('[A]\nx=\ufeff').settings[0]?.value, '\ufeff');
  const [setting] = parseFile('[A]\nx=  \t  \\\n  \\\n  a  b').settings;
  assert.equal([setting?.value, setting?.line], ['a  b', 2]);
  assert.equal(
    [0, 3, 99].map((offset) => setting?.lineAt(offset)),
    [4, 4, 4],
  );
  assert.equal(parseFile('').settings, []);
  assert.equal(parseFile('[A]\n\\\n').faults, []);
});

test('each escape of systemd, and those that there are not', () => {
  const word = (text: string) => splitWords(text)[0]?.text;
  for (const [code, char] of Object.entries({
    ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', s: ' ' },
    ...{
      '\\': '\\',
      '"': '"',
      "'": "'",
      x41: 'A',
      '101': 'A',
      u00e9: 'é',
      U0001f600: '😀',
      U0010ffff: '\u{10ffff}',
    },
  }))
    assert.is(word(`1\\${code}2`), `1${char}2`, code);
  for (const code of [
    'q',
    'x4',
    'x4g',
    'x00',
    '000',
    '1',
    '18',
    '401',
    'u00e',
    'u0000',
    'U00110000',
    'U0000000g',
    'qx41',
    '',
  ])
    assert.throws(() => word(`1\\${code}`), /a backslash begins an escape, and there is none such/, code);
});

test('what would end a word, or be an escape, is quoted, and nothing else', () => {
  for (const [word, quoted] of [
    ['a-b:c#;', 'a-b:c#;'],
    ['', '""'],
    ['#a', '"#a"'],
    [';a', '";a"'],
    ['a b', '"a b"'],
    ['a"b', '"a\\"b"'],
    ["a'b", '"a\'b"'],
    ['a\\b', '"a\\\\b"'],
    ['a\u0001\n', '"a\\u0001\\u000a"'],
    ['100%', '100%%'],
  ] as const)
    assert.is(quoteForUnit(word), quoted, word);
});

test('a specifier that there is not is refused with those that there are', () => {
  assert.is(expandSpecifiers('%H-%%-%l', { H: 'h', l: 'L' }), 'h-%-L');
  for (const text of ['%', 'a%x', '%\n'])
    assert.throws(
      () => expandSpecifiers(text, { H: 'h', l: 'L' }),
      ({ message }: Error) =>
        message === 'a percent sign begins a specifier, %H, %l: write %% for a percent sign',
    );
});

test('words: quotes, escapes', () => {
  const words = (text: string) => splitWords(text).map((word) => word.text);
  assert.equal(words(`a "b c" 'd "e"' f'g h'i \\x41\\101\\u00e9\\s\\\\ "" \\"`), [
    'a',
    'b c',
    'd "e"',
    'fg hi',
    'AAé \\',
    '',
    '"',
  ]);
  assert.throws(() => words('a "b'), /the quote " is left open/);
  assert.throws(() => words('a\\q'), /write \\\\ for a backslash/);
});

test('a word that would begin a comment comes back from a line of its own', () => {
  const words = ['', '#a', ';b', 'c#'];
  const { settings } = parseFile(`[A]\nx=${words.map(quoteForUnit).join(' \\\n  ')}`);
  assert.equal(
    splitWords(settings[0]?.value ?? '').map(({ text }) => text),
    words,
  );
});

test('any word comes back', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' })), (list) => {
      const wanted = list.map((word) => word.replaceAll('\0', ''));
      const parsed = parseFile(`[A]\nx=${wanted.map(quoteForUnit).join(' \\\n  ')}`);
      const read = splitWords(parsed.settings[0]?.value ?? '').map(({ text }) => expandSpecifiers(text, {}));
      assert.equal(read, wanted);
    }),
  );
});

test('the drop-ins of a unit name the file or the label, and have its lines; without any there is none', () => {
  const head =
    '# Written by wormhole apply, and removed with the unit. Change the file that is named here, or use systemctl edit.\n';
  const none = { Unit: [], Socket: [], Service: [] };
  const units = { socket: 'a.socket', service: 'a.service' };
  assert.equal(renderDropIns(units, { extra: none }), [{ unit: 'a.socket' }, { unit: 'a.service' }]);
  const extra = { Unit: ['After=b', 'After=c'], Socket: ['Backlog=1'], Service: ['Nice=1'] };
  assert.equal(renderDropIns(units, { file: '/etc/a', extra }), [
    {
      unit: 'a.socket',
      text: `${head}[Unit]\nAfter=b\nAfter=c\n\n[X-Wormhole]\nFile=/etc/a\n\n[Socket]\nBacklog=1\n`,
    },
    { unit: 'a.service', text: `${head}[Unit]\nAfter=b\nAfter=c\n\n[Service]\nNice=1\n` },
  ]);
  assert.equal(renderDropIns(units, { label: 'app wormhole.link.db', extra: none }), [
    { unit: 'a.socket', text: `${head}[X-Wormhole]\nLabel=app wormhole.link.db\n` },
    { unit: 'a.service' },
  ]);
  // A tunnel has no socket.
  const [tunnel, ...others] = renderDropIns({ service: 't.service' }, { file: '/t', extra });
  assert.equal(others, []);
  assert.equal(tunnel, {
    unit: 't.service',
    text: `${head}[Unit]\nAfter=b\nAfter=c\n\n[X-Wormhole]\nFile=/t\n\n[Service]\nNice=1\n`,
  });
  assert.equal(readDropIns({ service: tunnel?.text }), { file: '/t', extra: { ...extra, Socket: [] } });
  assert.equal(readDropIns({}), { extra: none });
  assert.equal(readDropIns({ socket: '[X-Wormhole]\nLabel=l\n[Unit]\nAfter=b\n' }), {
    label: 'l',
    extra: { ...none, Unit: ['After=b'] },
  });
  // Only the section of Wormhole names them.
  assert.equal(readDropIns({ socket: '[Unit]\nFile=x\nLabel=y\n', service: '' }), { extra: none });
  assert.equal([{ unit: 'a', text: '' }, { unit: 'a' }].map(hasText), [true, false]);
});

test('a link: one key for each option, the last one counts, an empty one resets', () => {
  const { id, recipe, options, extra } = link(`[Link]
Recipe=url :1 tail url :9
Recipe=
Recipe=url :3306
Recipe=tail docker-ns "db"
Idle=5m
StartTimeout=1s
StartTimeout=2m
UdpTimeout=9s
UdpTimeout=
Mode=660
Owner=%l:mysql
Group=docker
Pull=never
X-Note=mine
[X-Mine]
anything=1
[Unit]
After=%n.target
[Socket]
Backlog=
Backlog=7
`);
  assert.is(id, 'web');
  assert.is(recipe.idle, 300);
  assert.equal(recipe.tail?.place, { kind: 'container', name: 'db' });
  assert.equal(options, {
    startTimeout: 120,
    pull: 'never',
    socketMode: '660',
    socketOwner: 'box:mysql',
    group: 'docker',
  });
  assert.equal(extra, { Unit: ['After=%n.target'], Socket: ['Backlog=', 'Backlog=7'], Service: [] });
  assert.is(link('[Link]\nRecipe=id other url :1 tail url :2').id, 'other');
});

test('faults name their lines', () => {
  const lines = faults('[Link]\nRecipe=url :1 \\\n tail \\\n oops :2\nPull=x\nOwnr=a\n[Lnk]\n');
  const expected = [
    /^f:7: no section of that name is known here; there are \[Link\]/,
    /^f:6: Ownr= is not a setting of \[Link\]; did you mean Owner=\?$/,
    /^f:5: Pull=x: expected never, missing or always$/,
    /^f:4: word 4, "oops": not a word/,
  ];
  assert.is(lines.length, expected.length, lines.join('\n'));
  for (const line of expected)
    assert.ok(
      lines.some((one) => line.test(one)),
      `${line} of ${lines.join('\n')}`,
    );
  assert.match(faults('')[0] ?? '', /^f:1: there is neither/);
  assert.match(faults('[Link]\n')[0] ?? '', /^f:1: Recipe= is missing/);
  assert.match(faults('[Link]\n[Tunnel]\n')[0] ?? '', /^f:2: .* not both/);
  assert.match(
    faults('[Link]\nRecipe=url :1 tail url :2', 'tail')[0] ?? '',
    /^f:2: the name of the file, "tail"/,
  );
  assert.match(
    faults('[Link]\nRecipe=url :1 tail url :2', 'a b')[0] ?? '',
    /^f:2: the name of the file, "a b", .*: an id is 1 to/,
  );
  assert.match(
    faults('[Link]\nRecipe=url :1 %x')[0] ?? '',
    /^f:2: Recipe=: a percent sign .* %% for a percent sign/,
  );
  assert.match(
    faults('[Link]\nRecipe=idle 5s url :1 tail url :2\nIdle=5s')[0] ?? '',
    /^f:3: the recipe says idle already/,
  );
});

test('no fault tells what docker-run is given', () => {
  for (const recipe of [
    'url :1 trigger docker-run "-e A=hunter2 --what x"',
    'url :1 trigger docker-run -e A=hunter2 x',
    'url :1 trigger docker-run "-e A=hunter2',
    'url :1 trigger docker-run\n  -e A=hunter2 x',
    'url :1 trigger docker-run "-e A=hunter2\\q x"',
    'url :1 trigger docker-run "-e A=hunter2%z x"',
  ])
    assert.not.match(faults(`[Link]\nRecipe=${recipe}\n`).join('\n') || 'hunter2', /hunter2/, recipe);
});

test('a tunnel', () => {
  const read = (text: string) => parseDeclaration([{ path: 'f', text }], { name: 'x', hostname: 'h' });
  const { kind, host, mode } = read('[Tunnel]\nHost=myserver:9998\nUdp=on\n') as Extract<
    ReturnType<typeof read>,
    { kind: 'tunnel' }
  >;
  assert.equal([kind, host, mode], ['tunnel', 'myserver:9998', 'udp']);
  assert.throws(() => read('[Tunnel]\nUdp=maybe\n'), /f:2: Udp=maybe: expected yes or no/);
  assert.throws(() => read('[Tunnel]\nUdp=yes\n'), /f:1: Host= is missing/);
});

test('drop-ins come back', () => {
  const content = {
    file: '/etc/x.wormhole',
    extra: { Unit: ['After=a.target'], Socket: ['Backlog=', 'Backlog=7'], Service: ['MemoryMax=1G'] },
  };
  const none = { Unit: [], Socket: [], Service: [] };
  for (const wanted of [
    content,
    { ...content, extra: none },
    { extra: { ...none, Unit: ['After=b'] } },
    { extra: none },
  ]) {
    const [socket, service] = renderDropIns({ socket: 'a.socket', service: 'a.service' }, wanted);
    assert.equal(readDropIns({ socket: socket?.text, service: service?.text }), wanted);
  }
});

test.run();
