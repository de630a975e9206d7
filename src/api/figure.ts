import * as v from 'valibot';

/** The largest figure: what a Date holds, in ms, which is about the largest whole number of JavaScript. */
const MOST = 8.64e15;

/**
 * A number in an answer: a count, bytes, or a moment in ms. JSON can write one that JavaScript reads as infinite (1e999). It would stop
 * what prints it, and with it what other machines have answered.
 */
export const figure = v.pipe(v.number(), v.minValue(-MOST), v.maxValue(MOST));
