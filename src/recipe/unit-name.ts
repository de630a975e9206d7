import { quoted } from '../text/quote.js';
import { type Word, wrongWord } from './error.js';

/** A longer name would leave no room for that of the unit which follows the service: systemd takes 255 characters. */
const LONGEST = 200;

/** The types of units beside services (systemd.unit(5)). */
const OTHER_TYPES = /\.(?:socket|target|mount|automount|swap|timer|path|slice|scope|device|snapshot)$/;

/**
 * Reads the argument of `unit`: the name of a service, to which `.service` is added if it is missing, as systemctl does. A service
 * made from a template has its instance in it: `postgresql@15-main.service`.
 *
 * @throws RecipeError about `word` when no service can have that name (unit_name_is_valid() of systemd's source), and for one of
 *   Wormhole's own
 */
export function parseUnitName(word: Word): string {
  const { text } = word;
  if (OTHER_TYPES.test(text))
    throw wrongWord(word, 'a connection starts a service, and no unit of another type');
  const name = text.endsWith('.service') ? text : `${text}.service`;
  const [, prefix = '', instance] =
    /^([A-Za-z0-9:_\\.-]*)(?:@([A-Za-z0-9:_\\.@-]*))?\.service$/.exec(name) ?? [];
  if (prefix === '' || prefix.startsWith('.'))
    throw wrongWord(word, `${quoted(text)} cannot be the name of a service`);
  if (instance === '')
    throw wrongWord(
      word,
      `${quoted(text)} is a template: say an instance of it, such as ${prefix}@1.service`,
    );
  if (name.length > LONGEST) throw wrongWord(word, `a service's name has at most ${LONGEST} characters here`);
  if (/^wormholed?[-.@]/.test(name))
    throw wrongWord(word, "it is one of Wormhole's own units, which links start by themselves");
  return name;
}
