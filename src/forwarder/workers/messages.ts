/*
 * The types of messages between the first thread and a worker. See channel.ts.
 *
 *     first                                     worker
 *       SERVE (descriptor, is unix)…       ->     the text is about PROXY headers of a single client; see proxy-info.ts
 *       ADOPT, a connection                ->     the text is its source and its client; see pass-on.ts
 *       PING number                        ->
 *                                          <-     PONG number, when it is handled
 *       STOP                               ->     store the sessions, and relay no more
 *                                          <-     KEPT sessions, whether they are stored
 *       QUIT                               ->     relay no more: the process exits
 *                                          <-     READY, when the sessions of an earlier process go on
 *                                          <-     CLOSED, when a session has ended and the first thread waits for that
 *                                          <-     LINES, what it has logged
 *                                          <-     ASK, which of the resolvers is to be asked: see resolvers.ts
 *       ANSWERED, which                    ->     its file may have changed
 *                                          <-     REJECTION, what the machine of the target says of clients that it resets
 *                                          <-     SOURCES of sessions that go on (1) or have ended (-1), their numbers in lines
 */
export const SERVE = 1;
export const PING = 2;
export const STOP = 3;
export const QUIT = 4;
export const READY = 5;
export const PONG = 6;
export const KEPT = 7;
export const CLOSED = 8;
export const LINES = 9;
export const SOURCES = 10;
export const ASK = 11;
export const ANSWERED = 12;
export const ADOPT = 13;
export const REJECTION = 14;

/** How long the workers may take to store their sessions before the process exits, ms. TimeoutStopSec= of the unit is longer. */
export const STOP_MS = 3000;
