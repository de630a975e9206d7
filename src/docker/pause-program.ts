/** The machines that holders run on, as the engine calls them. */
export type Architecture = 'amd64' | 'arm64';

/*
 * loop: mov eax, 34        pause(2)
 *       syscall
 *       jmp loop
 */
const amd64 = Buffer.from('b822000000' + '0f05' + 'ebf7', 'hex');

/*
 * loop: mov x0, #0         ppoll(NULL, 0, NULL, NULL): there is no pause(2) on arm64
 *       mov x1, #0
 *       mov x2, #0
 *       mov x3, #0
 *       mov x8, #73
 *       svc #0
 *       b   loop
 */
const arm64 = Buffer.from(
  '000080d2' + '010080d2' + '020080d2' + '030080d2' + '280980d2' + '010000d4' + 'faffff17',
  'hex',
);

const machines = { amd64: { number: 62, code: amd64 }, arm64: { number: 183, code: arm64 } };

const HEADERS = 64 + 56;
const ADDRESS = 0x400000n;

/** A program that sleeps for ever: an ELF header, one program header, elf(5), and the code behind them. */
export function pauseProgram(architecture: Architecture): Buffer {
  const { number, code } = machines[architecture];
  const elf = Buffer.alloc(HEADERS);
  elf.write('\x7fELF\x02\x01\x01', 'latin1'); // 64 bits, little-endian, version 1
  elf.writeUInt16LE(2, 16); // an executable
  elf.writeUInt16LE(number, 18);
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(ADDRESS + BigInt(HEADERS), 24); // where it begins
  elf.writeBigUInt64LE(64n, 32); // the program headers
  elf.writeUInt16LE(64, 52);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  // The program header: load the whole file, readable and executable, at ADDRESS.
  elf.writeUInt32LE(1, 64);
  elf.writeUInt32LE(5, 68);
  elf.writeBigUInt64LE(ADDRESS, 80);
  elf.writeBigUInt64LE(ADDRESS, 88);
  elf.writeBigUInt64LE(BigInt(HEADERS + code.length), 96);
  elf.writeBigUInt64LE(BigInt(HEADERS + code.length), 104);
  elf.writeBigUInt64LE(0x10000n, 112); // arm64 has pages of up to 64 KiB
  return Buffer.concat([elf, code]);
}
