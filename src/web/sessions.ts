import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { digestOf, randomSecret } from './secrets.js';

/** How long a browser that has used a token may look, ms. */
export const SESSION_MS = 12 * 3_600_000;

/** The most browsers that may look; a further one replaces the oldest. */
const MOST = 32;

const saved = v.array(
  v.object({
    id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/)),
    digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
    until: v.number(),
  }),
);
type Session = v.InferOutput<typeof saved>[number];

/** A session as its browser knows it. `id` is in the path of the page, `secret` in a cookie for that path. */
export interface NewSession {
  id: string;
  secret: string;
}

/** Browsers that may look. */
export interface Sessions {
  open(): NewSession;
  /** Whether the cookie is that of the session. */
  isOpen(id: string, secret: string): boolean;
  /** As text, for {@link readSessions}; it has no secret. */
  save(): string;
}

/**
 * Sessions, with those of an earlier process.
 *
 * Browsers do not tell cookies of one port from those of another (RFC 6265, 8.5): a server of some user on another port of this machine
 * would be sent ours. So a cookie is for a path that no one else can guess.
 *
 * @param now the time in ms since 1970
 * @param text what `save` has returned; anything else opens no session
 */
export function readSessions(now: () => number, text = '[]'): Sessions {
  const sessions = new Map<string, Session>(parse(text).map((session) => [session.id, session]));
  const forget = () => {
    for (const { id, until } of sessions.values()) if (until <= now()) sessions.delete(id);
  };
  return {
    open() {
      forget();
      const [oldest] = sessions.keys();
      if (sessions.size >= MOST && oldest !== undefined) sessions.delete(oldest);
      const [id, secret] = [randomBytes(16).toString('base64url'), randomSecret()];
      sessions.set(id, { id, digest: digestOf(secret), until: now() + SESSION_MS });
      return { id, secret };
    },
    isOpen(id, secret) {
      forget();
      return sessions.get(id)?.digest === digestOf(secret);
    },
    save() {
      forget();
      return JSON.stringify([...sessions.values()]);
    },
  };
}

function parse(text: string): Session[] {
  try {
    const read = v.safeParse(saved, JSON.parse(text));
    return read.success ? read.output : [];
  } catch {
    return [];
  }
}
