import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';

/** The parts of a CycloneDX document that differ between two runs of npm. */
interface Sbom {
  serialNumber?: string;
  metadata: { timestamp: string; component: { name: string } };
}

/**
 * The packages that the programs are made of, as CycloneDX 1.5 in JSON: what `npm sbom` says of package-lock.json, without the packages
 * that only tests and the build need. Two runs for one commit give the same text: the time is that of the commit, the serial number is a digest
 * (an UUID of version 8, RFC 9562), and the component has its own name instead of that of the directory.
 *
 * @param time in seconds since 1970
 */
export function sbom(root: string, name: string, time: number): string {
  const args = [
    'sbom',
    '--sbom-format=cyclonedx',
    '--sbom-type=application',
    '--omit=dev',
    '--package-lock-only',
  ];
  const printed = execFileSync('npm', [...args], { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 });
  const document = JSON.parse(printed) as Sbom;
  delete document.serialNumber;
  document.metadata.timestamp = new Date(time * 1000).toISOString();
  document.metadata.component.name = name;
  const digest = createHash('sha256').update(JSON.stringify(document)).digest('hex');
  const serialNumber = `urn:uuid:${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
  return `${JSON.stringify({ serialNumber, ...document }, null, 1)}\n`;
}
