import { addressesOf } from '../recipe/link.js';
import { kindOf } from '../recipe/protocols.js';
import { serviceUnit } from './names.js';
import { MAX_WORKERS, type PlannedLink } from './plan.js';

/** What the unit of a forwarder has for the threads that relay in it. */
export interface UnitThreads {
  /** What the forwarder is started with. */
  options: string[];
  /** TasksMax= and FileDescriptorStoreMax=. Each thread stores up to two generations of its sessions, in several parts if they are many. */
  tasksMax: number;
  storeMax: number;
  /** Files of its control groups, which may be missing, and where the forwarder sees them. */
  cpuLimits: { file: string; seen: string }[];
}

/** Where the forwarder sees the files of its control groups. */
const LIMITS_DIRECTORY = '/run/wormhole/cpu';

/**
 * The threads of a forwarder that relays connections on this machine; undefined for every other. The front of a link with several
 * tails relays none, and neither does a forwarder of datagrams alone; what relays for another machine has that machine's options.
 */
export function threadsOf(planned: PlannedLink): UnitThreads | undefined {
  const { link, tailOf, options } = planned;
  const { workers } = options;
  const hasStreams = addressesOf(link.head).some(({ protocol }) => kindOf(protocol) === 'stream');
  if (workers === undefined || link.tails || !(hasStreams || tailOf !== undefined)) return undefined;
  const most = workers === 'auto' ? MAX_WORKERS : workers;
  const cpuLimits =
    workers !== 'auto'
      ? []
      : controlGroupsOf(planned).map((directory, index) => ({
          file: `/sys/fs/cgroup${directory}/cpu.max`,
          seen: `${LIMITS_DIRECTORY}/${index}`,
        }));
  return {
    options: ['--workers', `${workers}`, ...cpuLimits.flatMap(({ seen }) => ['--cpu-limit', seen])],
    tasksMax: 32 + most,
    storeMax: 64 + 8 * most,
    cpuLimits,
  };
}

/**
 * The control groups whose limits hold for the forwarder: its own, that of services, and that of the machine, which has a limit only if
 * the machine is a container itself.
 */
function controlGroupsOf({ id }: PlannedLink): string[] {
  return [`/system.slice/${serviceUnit(id)}`, '/system.slice', ''];
}
