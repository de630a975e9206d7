import { runName } from '../../recipe/link.js';
import type { Systemd } from '../../systemd/systemd.js';
import { readUnitFile, unitFileNames } from '../../systemd/unit-files.js';
import { followUnit, runUnit } from '../../units/names.js';
import { forgetStarted } from './run.js';

/** What starts a service for a link: its name as a run, and the service. */
export interface ExistingService {
  name: string;
  service: string;
}

/** The service that a run starts, by its unit file; undefined when there is none, or it runs a container. */
export function serviceOfRun(name: string): string | undefined {
  return /^Unit=(.*)$/m.exec(
    /^\[X-Wormhole\]\n[\s\S]*/m.exec(readUnitFile(runUnit(name)) ?? '')?.[0] ?? '',
  )?.[1];
}

/** The services that links start which have units, also those that cannot be read. */
export function existingServices(ids: string[]): ExistingService[] {
  return ids.flatMap((id) => {
    const name = runName(id, 'tail');
    const service = serviceOfRun(name);
    return service === undefined ? [] : { name, service };
  });
}

/** Stops what starts a service for a link that no longer does, and leaves the service alone. @throws JobError */
export async function releaseService({ name, service }: ExistingService, systemd: Systemd): Promise<void> {
  // Without it, the service is not the link's to stop.
  forgetStarted(name);
  await systemd.stop(runUnit(name));
  const isUsed = unitFileNames('wormhole-').some((file) => {
    const other = /^wormhole-(.+)-run\.service$/.exec(file)?.[1];
    return other !== undefined && other !== name && serviceOfRun(other) === service;
  });
  if (!isUsed) await systemd.stop(followUnit(service));
}
