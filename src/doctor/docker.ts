import { engine, explain } from '../docker/engine.js';
import { type Check, needsEngine } from './facts.js';
import type { Finding } from './finding.js';

/** Whether the engine that links need runs and answers. A stopped engine is not asked, which would start it. */
export const dockerCheck: Check = {
  name: 'docker',
  async find({ links, systemd, engineRuns }) {
    if (engineRuns === undefined) return [];
    const user = links.find(needsEngine);
    const why = user ? `link ${user.root} needs it` : 'links need it';
    const { load, active } = await systemd.state('docker.service');
    if (engineRuns) {
      const failure = await answerOf();
      return failure === undefined ? [] : [engineFinding(`${failure}; ${why}`, 'systemctl status docker')];
    }
    return load === 'loaded'
      ? [engineFinding(`docker.service is ${active}, and ${why}`, 'systemctl start docker')]
      : [engineFinding(`it is not installed, and ${why}`, 'apt install docker.io, or delete the link')];
  },
};

function engineFinding(problem: string, advice: string): Omit<Finding, 'check'> {
  return { subject: 'the Docker engine', problem, advice };
}

/** Why the engine does not answer; undefined when it does. */
async function answerOf(): Promise<string | undefined> {
  try {
    await (await engine()).ping();
    return undefined;
  } catch (error) {
    return explain(error, 'it refuses to answer').message;
  }
}
