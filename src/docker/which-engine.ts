import { existsSync } from 'node:fs';
import { readIfExists } from '../system/files.js';

/** The engines whose containers links can reach: Docker, and Podman by its socket, which understands the same requests. */
export type EngineKind = 'docker' | 'podman';

/** Where each of them listens. */
export const ENGINE_SOCKETS: Record<EngineKind, string> = {
  docker: '/var/run/docker.sock',
  podman: '/run/podman/podman.sock',
};

/** Says `docker` or `podman` where both are installed. */
const CHOICE_FILE = '/etc/wormhole/engine';

/** Where there is one of them, Docker is installed, even if it does not run now. */
const SIGNS_OF_DOCKER = [
  ENGINE_SOCKETS.docker,
  ...['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map(
    (directory) => `${directory}/systemd/system/docker.service`,
  ),
];

/**
 * The engine of this machine: what /etc/wormhole/engine says, else Docker if it is installed, running or not, else Podman if its
 * socket is there. A Docker that is stopped for a while is not exchanged for Podman: the containers of its links would seem gone.
 *
 * @throws Error when the file says anything else
 */
export function engineKind(): EngineKind {
  const choice = readIfExists(CHOICE_FILE)?.trim();
  if (choice === 'docker' || choice === 'podman') return choice;
  if (choice !== undefined && choice !== '')
    throw new Error(`${CHOICE_FILE} says ${JSON.stringify(choice)}: it may say docker or podman`);
  if (SIGNS_OF_DOCKER.some((path) => existsSync(path))) return 'docker';
  return existsSync(ENGINE_SOCKETS.podman) ? 'podman' : 'docker';
}
