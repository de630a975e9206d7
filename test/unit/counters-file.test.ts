import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { figure } from '../../src/api/figure.ts';
import { formatCountersFile, MOST_FIGURE, readCountersFile, sumOf } from '../../src/state/counters-file.ts';

/* A forwarder that has been taken over may write any figures. What is read of them fits into every answer. */

const test = suite('figures that forwarders write');

test('whatever stands in the file is a figure of the API, and so is each sum', () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-figures-'));
  try {
    const file = join(directory, 'a');
    const read = [0, 1, 2 ** 53 - 1, 8.9e15, 1e300, Number.POSITIVE_INFINITY, -1, Number.NaN].map(
      (served) => {
        writeFileSync(file, formatCountersFile({ figures: { served }, texts: {} }));
        assert.ok(readFileSync(file).length > 0);
        return readCountersFile(file)?.figures.served ?? -1;
      },
    );
    assert.equal(read, [0, 1, MOST_FIGURE, MOST_FIGURE, MOST_FIGURE, MOST_FIGURE, 0, 0]);
    for (const value of [...read, sumOf(...read), sumOf(MOST_FIGURE, 1)])
      assert.ok(v.is(figure, value), String(value));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test.run();
