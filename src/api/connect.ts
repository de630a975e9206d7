import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Endpoint, endpointText } from './endpoint.js';
import { readKeys } from './key.js';
import { clientTls, hasProvedKey } from './tls.js';

/**
 * A machine whose daemon is asked, and the file of the key that it shares with this one (unused for a unix socket). With `id`, only
 * the machine that has that id is asked.
 */
export interface Machine {
  endpoint: Endpoint;
  keyFile: string;
  id?: string;
}

/**
 * The daemon of a machine cannot be asked, or has fallen silent; the message says which, and what to look at. `asked` is
 * true when it may have received the request, and may even have carried it out.
 */
export class Unreachable extends Error {
  constructor(
    message: string,
    readonly asked = false,
  ) {
    super(message);
  }
}

/**
 * How long looking up the name of a machine may take, ms: as long as the resolver takes for two questions that a name server does not
 * answer (resolv.conf(5)).
 */
const LOOKUP_MS = 10_000;

/** How long a connection to an address may take, ms; to the last one of several. */
const CONNECT_MS = 5_000;

/** How long its TLS handshake may take, ms: systemd has accepted, and a slow machine needs time to start the daemon. */
const HANDSHAKE_MS = 15_000;

/** How long one of several addresses of a machine is tried before the next, ms. */
const ATTEMPT_MS = 2_000;

/** How long a connection may take, however many addresses a machine has, ms. */
const ALL_ATTEMPTS_MS = 30_000;

/**
 * Connects to a machine's daemon, and makes sure that it has our key.
 *
 * @throws Unreachable; KeyUnusable when there is no key to prove ourselves with
 */
export function connectMachine({ endpoint, keyFile }: Machine): Promise<Socket> {
  const key = endpoint.kind === 'tcp' ? readKeys(keyFile)[0] : undefined;
  return new Promise((resolve, reject) => {
    const settle = (failure?: string) => {
      clearTimeout(timer);
      socket.off('error', failed);
      socket.off('close', closed);
      if (failure === undefined) return resolve(socket);
      socket.on('error', () => {});
      socket.destroy();
      reject(new Unreachable(failure));
    };
    const failed = (error: NodeJS.ErrnoException) => settle(explain(error, endpoint, keyFile));
    const closed = () => settle(`${endpointText(endpoint)} ${CLOSED}`);
    const startTimer = (ms: number) =>
      setTimeout(
        () => settle(`${endpointText(endpoint)} does not answer (waited ${Math.ceil(ms / 1000)} s)`),
        ms,
      );
    let timer: NodeJS.Timeout;
    let socket: Socket;
    if (endpoint.kind === 'unix' || key === undefined) {
      timer = startTimer(CONNECT_MS);
      socket = connectPlain(endpoint.kind === 'unix' ? endpoint.path : '', () => settle());
    } else {
      const { host, port } = endpoint;
      // net.connect's options are tls.connect's too (node's documentation of it), though its types lack this one.
      const attempt = { autoSelectFamilyAttemptTimeout: ATTEMPT_MS };
      const tls = connectTls({ ...clientTls(key), ...attempt, host, port });
      // Node tries all addresses of a name, those of both families in turn, and each has its time.
      let end = performance.now() + ALL_ATTEMPTS_MS;
      timer =
        isIP(host) > 0
          ? startTimer(CONNECT_MS)
          : setTimeout(
              () => settle(`machine "${host}" is unknown: DNS has not answered for ${LOOKUP_MS / 1000} s`),
              LOOKUP_MS,
            );
      tls.once('lookup', () => {
        end = performance.now() + ALL_ATTEMPTS_MS;
        clearTimeout(timer);
        timer = startTimer(CONNECT_MS);
      });
      tls.on('connectionAttempt', () => {
        clearTimeout(timer);
        timer = startTimer(Math.max(0, Math.min(CONNECT_MS, end - performance.now())));
      });
      tls.once('connect', () => {
        clearTimeout(timer);
        timer = startTimer(HANDSHAKE_MS);
      });
      tls.once('secureConnect', () => settle(hasProvedKey(tls) ? undefined : keysDiffer(endpoint, keyFile)));
      socket = tls;
    }
    socket.setNoDelay(true);
    socket.on('error', failed);
    socket.on('close', closed);
  });
}

const CLOSED =
  'closes the connection at once: this is not wormholed, or it refuses callers; journalctl -u wormholed there says why';

function keysDiffer(endpoint: Endpoint, keyFile: string): string {
  return `the keys of this machine and ${endpointText(endpoint)} differ: both need the same line in ${keyFile}`;
}

function explain(error: NodeJS.ErrnoException, endpoint: Endpoint, keyFile: string): string {
  const text = endpointText(endpoint);
  // If several addresses were tried, the error of the last; they are much the same.
  const last = error instanceof AggregateError ? (error.errors.at(-1) as NodeJS.ErrnoException) : error;
  const code = last.code ?? '';
  if (endpoint.kind === 'unix') {
    if (code === 'EACCES' || code === 'EPERM') return `${text} is for root only: use sudo`;
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return `no daemon at ${text}: systemctl start wormholed.socket`;
    return `${text} cannot be reached: ${last.message}`;
  }
  switch (code) {
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `machine "${endpoint.host}" is unknown: neither DNS nor /etc/hosts has its address`;
    case 'ECONNREFUSED':
      return `no daemon at ${text}, the connection is refused: if that machine is to be reached, systemctl enable --now wormholed-tcp.socket there`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `${text} ${CLOSED}`;
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_UNKNOWN_PROTOCOL':
      return `${text} does not speak TLS: this is not wormholed`;
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
    case 'EACCES':
      return `${text} cannot be reached (${code}): no route, or a firewall between`;
    default:
      // When two sides find that their keys differ, they send an alert of TLS, whichever way they find it.
      return code.startsWith('ERR_SSL_') || !isSystemError(last)
        ? keysDiffer(endpoint, keyFile)
        : `${text} cannot be reached: ${last.message}`;
  }
}

/** Whether an error is that of a system call; one about an untrusted certificate is not. */
function isSystemError({ syscall }: NodeJS.ErrnoException): boolean {
  return syscall !== undefined;
}
