import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type PullEvent, pullMeter } from '../../src/docker/pull-progress.ts';

function pulled(events: PullEvent[]): string[] {
  const meter = pullMeter('app');
  return events.map((event) => meter(event).text);
}

test('a pull of two layers, one of which is there', () => {
  const MB = 1_000_000;
  const texts = pulled([
    { status: 'Pulling from team/app', id: 'latest' },
    { status: 'Already exists', id: 'a' },
    { status: 'Pulling fs layer', id: 'b' },
    { status: 'Downloading', id: 'b', progressDetail: { current: 5 * MB, total: 20 * MB } },
    { status: 'Downloading', id: 'b', progressDetail: { current: 19 * MB, total: 20 * MB } },
    { status: 'Verifying Checksum', id: 'b' },
    { status: 'Download complete', id: 'b' },
    { status: 'Extracting', id: 'b', progressDetail: { current: 1, total: 20 * MB } },
    { status: 'Pull complete', id: 'b' },
    { status: 'Digest: sha256:1234' },
  ]);
  assert.equal(texts, [
    'pulling app',
    'pulling app: 1 of 1 layers',
    'pulling app: 1 of 2 layers',
    'pulling app: 1 of 2 layers, 5 of 20 MB',
    'pulling app: 1 of 2 layers, 19 of 20 MB',
    'pulling app: 1 of 2 layers, 19 of 20 MB',
    'pulling app: 1 of 2 layers, 20 of 20 MB',
    'pulling app: 1 of 2 layers, 20 of 20 MB',
    'pulling app: 2 of 2 layers, 20 of 20 MB',
    'pulling app: 2 of 2 layers, 20 of 20 MB',
  ]);
});

test('few bytes are told in tenths', () => {
  const [, text] = pulled([
    { status: 'Pulling fs layer', id: 'a' },
    { status: 'Downloading', id: 'a', progressDetail: { current: 300_000, total: 2_100_000 } },
  ]);
  assert.is(text, 'pulling app: 0 of 1 layers, 0.3 of 2.1 MB');
});

test('a layer whose size is not told counts what has come', () => {
  const meter = pullMeter('app');
  meter({ status: 'Pulling fs layer', id: 'a' });
  const { bytes } = meter({ status: 'Downloading', id: 'a', progressDetail: { current: 7 } });
  assert.equal(bytes, { done: 7, total: 7 });
});

test.run();
