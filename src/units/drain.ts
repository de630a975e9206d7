import { changeUnit, SECTION } from './digest.js';

/**
 * The text of the socket or service unit of a link with several tails, with these tails drained. What somebody has edited in it
 * stays.
 */
export function withDrained(text: string, drained: string[]): string {
  return changeUnit(text, (current) =>
    current.includes('\nExecStart=') ? inService(current, drained) : inSocket(current, drained),
  );
}

function inService(text: string, drained: string[]): string {
  const options = drained.map((name) => ` --drained ${name}`).join('');
  return text.replaceAll(/ --drained \S+/g, '').replace(' --drained-file ', `${options} --drained-file `);
}

function inSocket(text: string, drained: string[]): string {
  const rest = text.replace(/^Drained=.*\n/m, '');
  if (drained.length === 0) return rest;
  // Where the template has it: after the options, before what other machines have.
  const after =
    /^(?:StartTimeout|Pull|UdpTimeout|Max[A-Za-z]+|Rate|IdleTimeout|KeepAlive|Socket(?:Mode|Owner)|Group|(?:Accept)?ProxyProtocol|Balance|Check|Workers)=.*\n/gm;
  const section = rest.indexOf(`[${SECTION}]`);
  let at = rest.length;
  for (const match of rest.matchAll(after)) if (match.index > section) at = match.index + match[0].length;
  return `${rest.slice(0, at)}Drained=${drained.join(' ')}\n${rest.slice(at)}`;
}
