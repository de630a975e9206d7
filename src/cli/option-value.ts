import { UsageError } from './fail.js';

/**
 * The value of an option as it was typed. An option that ends with = is followed by its value, without a space.
 *
 * @throws UsageError
 */
export function optionValue<T>(option: string, text: string, read: (text: string) => T): T {
  try {
    return read(text);
  } catch (error) {
    const space = option.endsWith('=') ? '' : ' ';
    throw new UsageError(`${option}${space}"${text}": ${(error as Error).message}`);
  }
}
