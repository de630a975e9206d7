import { EngineDown } from '../../docker/engine.js';
import { engineKind } from '../../docker/which-engine.js';
import { withSystemd } from '../../systemd/systemd.js';

/**
 * Makes sure that a request to the Docker engine starts nothing.
 *
 * docker.socket starts a stopped engine at the first request. The administrator who stopped it, or stops it at this moment,
 * did not want that, so systemd is asked first. An engine that is no unit of systemd's is simply used.
 *
 * Podman runs only while it is asked: it is there as long as its socket is.
 *
 * @throws EngineDown when docker.service exists and neither runs nor starts, or podman.socket exists and is closed
 */
export async function requireEngine(): Promise<void> {
  if (process.env.DOCKER_HOST !== undefined) return;
  if (engineKind() === 'podman') return requirePodman();
  const { load, active } = await withSystemd((systemd) => systemd.state('docker.service'));
  if (load === 'loaded' && !['active', 'activating', 'reloading'].includes(active)) {
    throw new EngineDown(`Docker is not running (docker.service is ${active}): systemctl start docker`);
  }
}

async function requirePodman(): Promise<void> {
  const { load, active } = await withSystemd((systemd) => systemd.state('podman.socket'));
  if (load === 'loaded' && active !== 'active')
    throw new EngineDown(
      `Podman's socket is closed (podman.socket is ${active}): systemctl enable --now podman.socket`,
    );
}

/** Whether the engine runs or starts. */
export async function engineRuns(): Promise<boolean> {
  try {
    await requireEngine();
    return true;
  } catch (error) {
    if (error instanceof EngineDown) return false;
    throw error;
  }
}
