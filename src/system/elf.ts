import { closeSync, openSync, readSync } from 'node:fs';

/** The type of a program header that names the interpreter, elf(5). */
const PT_INTERP = 3;

/** Program headers and the path of the interpreter are at the beginning of a program. */
const BEGINNING = 65_536;

/**
 * The dynamic linker that the kernel starts a program with, such as `/lib64/ld-linux-x86-64.so.2`; undefined for a program that needs
 * none. Only of 64-bit little-endian programs (elf(5)), which is all that runs on the machines that Node supports.
 *
 * @throws the system call's error
 */
export function programInterpreter(path: string): string | undefined {
  const bytes = readBeginning(path);
  const [start, size, count] = [
    Number(bytes.readBigUInt64LE(32)),
    bytes.readUInt16LE(54),
    bytes.readUInt16LE(56),
  ];
  for (let at = start; at < start + size * count; at += size) {
    if (bytes.readUInt32LE(at) !== PT_INTERP) continue;
    const offset = Number(bytes.readBigUInt64LE(at + 8));
    return bytes.toString('utf8', offset, bytes.indexOf(0, offset));
  }
  return undefined;
}

function readBeginning(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(BEGINNING);
    return bytes.subarray(0, Math.max(64, readSync(fd, bytes, 0, BEGINNING, 0)));
  } finally {
    closeSync(fd);
  }
}
