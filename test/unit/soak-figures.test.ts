import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { grown, type Sample } from '../soak/figures.ts';

/* What counts as growth in the long run. */

/** Rounds with one figure each. */
const rounds = (name: string, figure: (round: number) => number, count = 60): Sample[] =>
  Array.from({ length: count }, (_, round) => ({ at: round, figures: { [name]: figure(round) } }));

test('memory that fills and then stays has not grown', () => {
  assert.equal(grown(rounds('privateKilobytes', (round) => 9_000 + Math.min(round, 20) * 500)), []);
});

test('memory that goes on growing is told, with both figures', () => {
  assert.equal(grown(rounds('privateKilobytes', (round) => 9_000 + 60 * round)), [
    'privateKilobytes has grown from 10800 to 12000',
  ]);
});

test('a descriptor that is lost every five rounds is told', () => {
  assert.equal(grown(rounds('descriptors', (round) => 24 + Math.floor(round / 5))), [
    'descriptors has grown from 30 to 34',
  ]);
  assert.equal(grown(rounds('descriptors', (round) => 24 + (round % 3))), []);
});

test('a run of too few rounds proves nothing', () => {
  assert.equal(grown(rounds('units', () => 1, 8)), ['8 rounds are too few to compare: 9 are needed']);
});

test.run();
