import * as v from 'valibot';
import { MOST_FIGURE } from '../state/counters-file.js';

/**
 * A number in an answer: a count, bytes, or a moment in ms. JSON can write one that JavaScript reads as infinite (1e999). It would stop
 * what prints it, and with it what other machines have answered.
 */
export const figure = v.pipe(v.number(), v.minValue(-MOST_FIGURE), v.maxValue(MOST_FIGURE));
