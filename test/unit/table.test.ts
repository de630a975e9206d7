import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { printTable } from '../../src/cli/table.ts';

test('each column is as wide as its longest cell, and no line ends with spaces', () => {
  assert.is(
    printTable(
      ['ID', 'HEAD', 'STATE'],
      [
        ['80', 'tcp://127.0.0.1:80', 'listening'],
        ['a-long-id', 'tcp://[::1]:80', ''],
      ],
    ),
    [
      'ID         HEAD                STATE',
      '80         tcp://127.0.0.1:80  listening',
      'a-long-id  tcp://[::1]:80',
      '',
    ].join('\n'),
  );
});

test('colours take no room', () => {
  const green = '\u001b[32mup\u001b[39m';
  assert.is(printTable(['A', 'B'], [[green, 'x']]), `A   B\n${green}  x\n`);
});

test('a table without rows is its head', () => {
  assert.is(printTable(['ID', 'STATE'], []), 'ID  STATE\n');
});

test.run();
