import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import pLimit from 'p-limit';

/** The bus refuses more than 128 unanswered calls of one connection (max_replies_per_connection, dbus-daemon(1)). */
const MAX_UNANSWERED = 64;

/** How long the bus may take to greet a client, and a called method to answer, ms. systemctl waits 180 s for a daemon-reload, too. */
const TIMEOUTS = { greeting: 30_000, answer: 180_000 };

/** A D-Bus error reply: `type` is its name, such as `org.freedesktop.systemd1.NoSuchUnit`. */
export interface BusError extends Error {
  type: string;
}

/** One method call. `signature` and `body` as in the D-Bus specification; both absent for a call without arguments. */
export interface Call {
  destination: string;
  path: string;
  interface: string;
  member: string;
  signature?: string;
  body?: unknown[];
}

/** A signal as it arrived. */
export interface Signal {
  path: string;
  interface: string;
  member: string;
  body: unknown[];
}

/** The bus is not there, does not answer, or has closed the connection: whatever was asked may have been done or not. */
export class BusUnreachable extends Error {}

/** A connection to the system bus. It keeps the process alive until `close` is called. */
export interface Bus {
  /** Calls a method; resolves to the reply's body, rejects with a {@link BusError}. */
  call(call: Call): Promise<unknown[]>;
  /** Calls `listener` for each signal that a match rule of this connection lets through. */
  onSignal(listener: (signal: Signal) => void): void;
  /** Rejects with {@link BusUnreachable} when the connection is lost: no signal arrives from then on. */
  lost: Promise<never>;
  close(): void;
}

/**
 * Connects to the system bus (dbus-next's low-level messages only: no introspection, no match rules of its own).
 *
 * @param timeouts how long it waits, ms
 * @throws BusUnreachable when there is no bus; calls do so when it has closed the connection, or one of them is not answered in time
 */
export async function connectBus(timeouts = TIMEOUTS): Promise<Bus> {
  // Loading it takes a fifth of the start of the program, and many runs do not need systemd.
  const { default: dbus } = await import('dbus-next');
  const bus = dbus.systemBus();
  const { _connection: connection } = bus as unknown as { _connection: EventEmitter & { stream: Duplex } };
  let broken: (error: Error) => void = () => {};
  const lost = new Promise<never>((_, reject) => {
    broken = (error) => {
      reject(new BusUnreachable(`the system bus is unreachable: ${error.message}`));
      // A bus that hangs would not close it either.
      connection.stream.destroy();
    };
  });
  lost.catch(() => {});
  bus.on('error', broken);
  // dbus-next does not report a bus that goes away, and every call would wait forever.
  connection.on('end', () => broken(new Error('it closed the connection')));

  /** Waits for what the bus says, or until it is lost. A bus that has kept one caller waiting is lost for all. */
  const within = async <T>(ms: number, said: Promise<T>): Promise<T> => {
    const timer = setTimeout(() => broken(new Error(`no answer within ${ms / 1000} s`)), ms);
    try {
      return await Promise.race([said, lost]);
    } finally {
      clearTimeout(timer);
    }
  };
  await within(timeouts.greeting, new Promise((resolve) => bus.once('connect', resolve)));

  const limit = pLimit(MAX_UNANSWERED);

  return {
    async call(call) {
      const reply = await limit(() => within(timeouts.answer, bus.call(new dbus.Message(call))));
      return reply?.body ?? [];
    },
    onSignal(listener) {
      bus.on('message', (message) => {
        if (message.type === dbus.MessageType.SIGNAL) listener(message);
      });
    },
    lost,
    close() {
      bus.disconnect();
    },
  };
}

/** Whether `error` is the D-Bus error reply with that name. */
export function isBusError(error: unknown, type: string): error is BusError {
  return error instanceof Error && 'type' in error && error.type === type;
}
