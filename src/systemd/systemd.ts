import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { type Bus, connectBus, isBusError } from './bus.js';

const DESTINATION = 'org.freedesktop.systemd1';
const MANAGER_PATH = '/org/freedesktop/systemd1';
const MANAGER = 'org.freedesktop.systemd1.Manager';
const UNIT = 'org.freedesktop.systemd1.Unit';
const SERVICE = 'org.freedesktop.systemd1.Service';
const SOCKET = 'org.freedesktop.systemd1.Socket';
const PROPERTIES = 'org.freedesktop.DBus.Properties';

/** Jobs end by the units' own timeouts, and a pull may take long. This is for a manager that no longer answers. */
const JOB_TIMEOUT_MS = 3_600_000;

const STOP_ATTEMPTS = 10;

/** What systemd knows of one unit in memory, org.freedesktop.systemd1(5). */
export interface LoadedUnit {
  /** `loaded`, `not-found`, `bad-setting`, … */
  load: string;
  /** `active`, `inactive`, `activating`, `deactivating`, `failed`, `reloading` */
  active: string;
}

/** What systemd knows of one unit. */
export interface UnitState extends LoadedUnit {
  /** The files have changed since systemd read them. */
  needReload: boolean;
}

/** A unit as people look at it. `since` is when it entered its state, ms since 1970; 0 if it never has. `mainPid` is 0 without one. */
export interface UnitDetails extends LoadedUnit {
  sub: string;
  since: number;
  mainPid: number;
}

/** The service of a main process: its unit, and its control group, such as `/system.slice/NAME.service`. */
export interface ServiceProcess {
  unit: string;
  controlGroup: string;
}

/** One address of a socket unit: `Stream`, `Datagram`, `SequentialPacket`, …, and the address as systemd writes it. */
export interface SocketListener {
  kind: string;
  address: string;
}

/** A job that ended otherwise than `done`: `failed`, `dependency`, `timeout`, `canceled`, … */
export class JobError extends Error {
  constructor(
    readonly unit: string,
    readonly result: string,
  ) {
    super(`${unit}: systemd says "${result}"`);
  }
}

/** systemd's manager over D-Bus. Each job is awaited; unit names are full names such as `wormhole-80.socket`. */
export interface Systemd {
  /** Starts a unit. @throws JobError when its job does not end in `done`. */
  start(unit: string): Promise<void>;
  /** Queues the start of a unit and does not wait for it: the journal tells how it ends. */
  queue(unit: string): Promise<void>;
  /** Stops a unit; one that is not loaded is stopped already. @throws JobError */
  stop(unit: string): Promise<void>;
  /** Restarts a unit that is active and leaves any other alone. @throws JobError */
  tryRestart(unit: string): Promise<void>;
  /** Queues the restart of a unit that is active and does not wait for it. */
  queueTryRestart(unit: string): Promise<void>;
  /** Whether the symlinks of the unit's [Install] section exist. */
  isEnabled(unit: string): Promise<boolean>;
  /** Runs the ExecReload= of an active service. @throws JobError */
  reload(service: string): Promise<void>;
  /** Reads all unit files again (systemctl daemon-reload). */
  reloadAll(): Promise<void>;
  /**
   * Makes systemd read all unit files again, and returns as soon as it has begun. Whatever it is asked next, by any program, it
   * answers afterwards. Files that were changed before the last answer of systemd are read as they are now.
   */
  beginReload(): Promise<void>;
  /** The state of a unit, which is loaded for it. */
  state(unit: string): Promise<UnitState>;
  /** The service that systemd itself has started a process for, as its main process; undefined for any other process. */
  serviceOf(pid: number): Promise<ServiceProcess | undefined>;
  /**
   * The units in memory whose names match one of the shell patterns, by name: one call for any number of them. A unit that is
   * not in memory is inactive.
   */
  loaded(patterns: string[]): Promise<Map<string, LoadedUnit>>;
  /** What `wormhole show` tells of units; those that are not in memory are loaded for it. */
  details(unit: string): Promise<UnitDetails>;
  /**
   * Properties of a unit, by name: those that all units have, or those of its type; what it has not is left out. The unit is loaded
   * for it.
   */
  properties(unit: string, of: 'Unit' | 'Service'): Promise<Record<string, unknown>>;
  /** The names of the unit files whose names match one of the patterns, and which are enabled. */
  enabled(patterns: string[]): Promise<string[]>;
  /** What a socket unit listens on (systemd.socket(5)): kinds such as `Stream`, and addresses such as `[::]:80`. */
  listeners(socket: string): Promise<SocketListener[]>;
  /** The version of systemd, such as 252. */
  version(): Promise<number>;
  /** Forgets that a unit failed, so that systemd unloads it. */
  resetFailed(unit: string): Promise<void>;
  close(): void;
}

/** Whether systemd is this machine's init, as sd_booted(3) tells. */
function booted(): boolean {
  return existsSync('/run/systemd/system');
}

/**
 * Runs `work` with a connection to systemd's manager on the system bus, which is closed afterwards.
 *
 * @throws Error when systemd is not this machine's init, or the bus is unreachable; what `work` throws
 */
export async function withSystemd<T>(work: (systemd: Systemd) => Promise<T>): Promise<T> {
  const systemd = await connectSystemd();
  try {
    return await work(systemd);
  } finally {
    systemd.close();
  }
}

/** The version of systemd, such as 252; undefined where it is not this machine's init. @throws Error when the bus is unreachable */
export async function systemdVersion(): Promise<number | undefined> {
  return booted() ? withSystemd((systemd) => systemd.version()) : undefined;
}

/**
 * Connects to systemd's manager on the system bus, for as long as a service runs; see {@link withSystemd}.
 *
 * @throws Error when systemd is not this machine's init, or the bus is unreachable
 */
export async function connectSystemd(): Promise<Systemd> {
  if (!booted()) {
    throw new Error(
      'this machine was not booted with systemd (no /run/systemd/system); Wormhole needs it as init',
    );
  }
  const bus = await connectBus();
  const manager = (member: string, signature?: string, body?: unknown[]) =>
    bus.call({
      destination: DESTINATION,
      path: MANAGER_PATH,
      interface: MANAGER,
      member,
      ...(signature === undefined ? {} : { signature, body: body ?? [] }),
    });

  // systemd loads a unit whose object is asked for something.
  const property = (unit: string, of: string, name: string) => propertyAt(unitPath(unit), of, name);
  const propertyAt = async (path: string, of: string, name: string) => {
    const [{ value }] = (await bus.call({
      destination: DESTINATION,
      path,
      interface: PROPERTIES,
      member: 'Get',
      signature: 'ss',
      body: [of, name],
    })) as [{ value: unknown }];
    return value;
  };

  const subscribe = (member: string) =>
    bus.call({
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      member: 'AddMatch',
      signature: 's',
      body: [`type='signal',sender='${DESTINATION}',interface='${MANAGER}',member='${member}'`],
    });

  // Before any job exists, so that none can end unseen.
  await subscribe('JobRemoved');
  await manager('Subscribe');
  const runJob = watchJobs(bus, manager);

  return {
    start: (unit) => runJob('StartUnit', unit),
    async queue(unit) {
      await manager('StartUnit', 'ss', [unit, 'replace']);
    },
    async stop(unit) {
      for (let attempt = 1; ; attempt++) {
        try {
          return await runJob('StopUnit', unit);
        } catch (error) {
          if (isBusError(error, 'org.freedesktop.systemd1.NoSuchUnit')) return;
          // Another job for the same unit has replaced this one.
          const replaced =
            error instanceof JobError && error.result === 'canceled' && attempt < STOP_ATTEMPTS;
          if (!replaced) throw error;
        }
      }
    },
    tryRestart: (unit) => runJob('TryRestartUnit', unit),
    async queueTryRestart(unit) {
      await manager('TryRestartUnit', 'ss', [unit, 'replace']);
    },
    async isEnabled(unit) {
      const [state] = (await manager('GetUnitFileState', 's', [unit])) as [string];
      return state === 'enabled';
    },
    reload: (service) => runJob('ReloadUnit', service),
    async reloadAll() {
      await manager('Reload');
    },
    async beginReload() {
      await subscribe('Reloading');
      await new Promise<void>((resolve, reject) => {
        // It answers when it has read all of them.
        manager('Reload').then(() => resolve(), reject);
        bus.onSignal(({ interface: from, member, body }) => {
          if (from === MANAGER && member === 'Reloading' && body[0] === true) resolve();
        });
      });
    },
    async state(unit) {
      const [load, active, needReload] = await Promise.all(
        ['LoadState', 'ActiveState', 'NeedDaemonReload'].map((name) => property(unit, UNIT, name)),
      );
      return { load: String(load), active: String(active), needReload: needReload === true };
    },
    async serviceOf(pid) {
      try {
        const [path] = (await manager('GetUnitByPID', 'u', [pid])) as [string];
        const unit = String(await propertyAt(path, UNIT, 'Id'));
        if (!unit.endsWith('.service') || (await propertyAt(path, SERVICE, 'MainPID')) !== pid)
          return undefined;
        return { unit, controlGroup: String(await propertyAt(path, SERVICE, 'ControlGroup')) };
      } catch (error) {
        // It belongs to no unit, or has ended.
        if (isBusError(error, 'org.freedesktop.systemd1.NoUnitForPID')) return undefined;
        if (isBusError(error, 'org.freedesktop.systemd1.NoSuchUnit')) return undefined;
        throw error;
      }
    },
    async loaded(patterns) {
      const [units] = (await manager('ListUnitsByPatterns', 'asas', [[], patterns])) as [ListedUnit[]];
      return new Map(units.map(([name, , load, active]) => [name, { load, active }]));
    },
    async details(unit) {
      const path = unitPath(unit);
      const [load, active, sub, since, mainPid] = await Promise.all([
        ...['LoadState', 'ActiveState', 'SubState', 'StateChangeTimestamp'].map((name) =>
          propertyAt(path, UNIT, name),
        ),
        unit.endsWith('.service') ? propertyAt(path, SERVICE, 'MainPID') : 0,
      ]);
      return {
        load: String(load),
        active: String(active),
        sub: String(sub),
        // A 64-bit number, in µs.
        since: Math.trunc(Number(since) / 1000),
        mainPid: Number(mainPid),
      };
    },
    async properties(unit, of) {
      const [all] = (await bus.call({
        destination: DESTINATION,
        path: unitPath(unit),
        interface: PROPERTIES,
        member: 'GetAll',
        signature: 's',
        body: [of === 'Unit' ? UNIT : SERVICE],
      })) as [Record<string, { value: unknown }>];
      return Object.fromEntries(Object.entries(all).map(([name, { value }]) => [name, value]));
    },
    async enabled(patterns) {
      const [files] = (await manager('ListUnitFilesByPatterns', 'asas', [['enabled'], patterns])) as [
        [string, string][],
      ];
      return files.map(([path]) => basename(path));
    },
    async listeners(unit) {
      const listening = (await property(unit, SOCKET, 'Listen')) as [string, string][];
      return listening.map(([kind, address]) => ({ kind, address }));
    },
    async version() {
      // As its package names it, such as 252.39-1~deb12u1.
      const text = String(await propertyAt(MANAGER_PATH, MANAGER, 'Version'));
      const [digits] = /\d+/.exec(text) ?? [];
      if (digits === undefined) throw new Error(`systemd says that its version is "${text}"`);
      return Number(digits);
    },
    async resetFailed(unit) {
      try {
        await manager('ResetFailedUnit', 's', [unit]);
      } catch (error) {
        if (!isBusError(error, 'org.freedesktop.systemd1.NoSuchUnit')) throw error;
      }
    },
    close: () => bus.close(),
  };
}

/** The beginning of what ListUnits returns of a unit: name, description, load state and active state. */
type ListedUnit = [string, string, string, string, ...unknown[]];

/** The object of a unit on the bus: its name with all but letters and digits as `_XX`, sd_bus_path_encode(3). */
function unitPath(unit: string): string {
  const label = [...Buffer.from(unit)].map((byte, i) => {
    const char = String.fromCharCode(byte);
    return (i === 0 ? /[A-Za-z]/ : /[A-Za-z0-9]/).test(char)
      ? char
      : `_${byte.toString(16).padStart(2, '0')}`;
  });
  return `${MANAGER_PATH}/unit/${label.join('')}`;
}

/** Returns a function that queues one job and waits for its end. The connection is subscribed to JobRemoved. */
function watchJobs(
  bus: Bus,
  manager: (member: string, signature?: string, body?: unknown[]) => Promise<unknown[]>,
): (member: string, unit: string) => Promise<void> {
  const ended = new Map<string, string>();
  const waiting = new Map<string, (result: string) => void>();
  bus.onSignal(({ interface: from, member, body }) => {
    if (from !== MANAGER || member !== 'JobRemoved') return;
    const [, job, , result] = body as [number, string, string, string];
    const waiter = waiting.get(job);
    if (waiter) waiter(result);
    else ended.set(job, result);
  });

  return async (member, unit) => {
    const [job] = (await manager(member, 'ss', [unit, 'replace'])) as [string];
    const result = ended.get(job) ?? (await jobEnd(job));
    ended.delete(job);
    if (result !== 'done' && result !== 'skipped') throw new JobError(unit, result);
  };

  async function jobEnd(job: string): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const end = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve('no answer'), JOB_TIMEOUT_MS);
      waiting.set(job, resolve);
    });
    try {
      // The signal of a job that ends after the connection is lost goes nowhere.
      return await Promise.race([end, bus.lost]);
    } finally {
      clearTimeout(timer);
      waiting.delete(job);
    }
  }
}
