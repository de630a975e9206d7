/** The machines that holders run on, as the engine calls them. */
export type Architecture = 'amd64' | 'arm64';

/*
 * Process 1 of a namespace gets no signal that it has no handler for, except SIGKILL from outside. A signal that it blocks
 * waits for it, though, and rt_sigtimedwait(2) takes it: SIGTERM ends the program with status 0.
 *
 *         lea rsi, [rip+set]      rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
 *         xor edi, edi
 *         xor edx, edx
 *         mov r10d, 8
 *         mov eax, 14
 *         syscall
 *   loop: lea rdi, [rip+set]      rt_sigtimedwait(set, NULL, NULL, 8)
 *         xor esi, esi
 *         xor edx, edx
 *         mov r10d, 8
 *         mov eax, 128
 *         syscall
 *         cmp eax, 15             SIGTERM
 *         jne loop
 *         xor edi, edi            exit_group(0)
 *         mov eax, 231
 *         syscall
 *   set:  .quad 0x4000
 */
const amd64 = Buffer.from(
  [
    '488d3537000000 31ff 31d2 41ba08000000 b80e000000 0f05',
    '488d3d1f000000 31f6 31d2 41ba08000000 b880000000 0f05 83f80f 75e3',
    '31ff b8e7000000 0f05',
    '0040000000000000',
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);

/*
 *         mov x0, #0              rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
 *         adr x1, set
 *         mov x2, #0
 *         mov x3, #8
 *         mov x8, #135
 *         svc #0
 *   loop: adr x0, set             rt_sigtimedwait(set, NULL, NULL, 8)
 *         mov x1, #0
 *         mov x2, #0
 *         mov x3, #8
 *         mov x8, #137
 *         svc #0
 *         cmp w0, #15             SIGTERM
 *         b.ne loop
 *         mov x0, #0              exit_group(0)
 *         mov x8, #94
 *         svc #0
 *   set:  .quad 0x4000
 */
const arm64 = Buffer.from(
  [
    '000080d2 01020010 020080d2 030180d2 e81080d2 010000d4',
    '60010010 010080d2 020080d2 030180d2 281180d2 010000d4 1f3c0071 21ffff54',
    '000080d2 c80b80d2 010000d4',
    '0040000000000000',
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);

const machines = { amd64: { number: 62, code: amd64 }, arm64: { number: 183, code: arm64 } };

const HEADERS = 64 + 56;
const ADDRESS = 0x400000n;

/** A program that sleeps until SIGTERM: an ELF header, one program header, elf(5), and the code behind them. */
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
