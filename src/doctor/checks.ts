import { clientsCheck } from './clients.js';
import { containersCheck } from './containers.js';
import { deletionsCheck } from './deletions.js';
import { dockerCheck } from './docker.js';
import type { Check } from './facts.js';
import { failedCheck } from './failed.js';
import { filesCheck } from './files.js';
import { inotifyCheck } from './inotify.js';
import { keysCheck } from './keys.js';
import { listenersCheck } from './listeners.js';
import { peersCheck } from './peers.js';
import { placesCheck } from './places.js';
import { portsCheck } from './ports.js';
import { programCheck } from './program.js';
import { servicesCheck } from './services.js';
import { tunnelKernelCheck } from './tunnel-kernel.js';
import { tunnelsCheck } from './tunnels.js';
import { unfinishedCheck } from './unfinished.js';
import { unitsCheck } from './units.js';

/**
 * All checks, in the order in which their findings are printed and repaired: first what others depend on, such as the program, the
 * kernel and the engine.
 */
export const checks: Check[] = [
  programCheck,
  keysCheck,
  dockerCheck,
  tunnelKernelCheck,
  inotifyCheck,
  unfinishedCheck,
  unitsCheck,
  filesCheck,
  servicesCheck,
  containersCheck,
  placesCheck,
  portsCheck,
  listenersCheck,
  tunnelsCheck,
  peersCheck,
  deletionsCheck,
  clientsCheck,
  failedCheck,
];
