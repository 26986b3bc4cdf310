// A processor with AMX for tests, where there is none (tools/test_amx.sh): preloaded into a
// program, it carries out AMX's instructions itself and, where Linux can, makes CPUID name
// AMX-BF16; elsewhere, with SG_TEST_AMX set, tests ask for AMX themselves. By Intel's manual,
// volume 2, TDPBF16PS, with bf16 A (m, 2k), B in rows of pairs (k, n, 2), f32 C (m, n):
//
//     even[n] = sum over k of A[m][2k] B[k][n][0]            each step one fused multiply and add
//     odd[n]  = sum over k of A[m][2k + 1] B[k][n][1]
//     C[m][n] += even[n] + odd[n]                            two additions, each rounded
//
// all rounded to nearest even, with denormals read and written as 0, whatever MXCSR says.
//
// How: Linux can make CPUID fault (arch_prctl ARCH_CPUID_SET); a handler of SIGSEGV answers it.
// AMX's instructions raise SIGILL; a handler of it carries them out on tiles that each thread has
// here. What the program itself asks for these two signals is refused. oneDNN asks Linux for AMX
// through syscall(), which is answered here too. What the instructions must not be given ends the
// program.
#include <cpuid.h>
#include <dlfcn.h>
#include <immintrin.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    amx_get_permission = 0x1022, // arch_prctl's ARCH_GET_XCOMP_PERM
    amx_ask_permission = 0x1023, // ARCH_REQ_XCOMP_PERM
    amx_cpuid_set = 0x1012,      // ARCH_CPUID_SET
    amx_skipped = 77,            // how a test ends that cannot run here
    amx_tiles = 8,
    amx_rows = 16,
    amx_row_bytes = 64
};

// What palette 1 and ldtilecfg's 64 bytes look like.
typedef struct amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;

typedef union amx_row {
    __m512 f;
    __m512i i;
    uint32_t pair[16]; // two bf16 each, the first of them in the lower half
    uint8_t bytes[amx_row_bytes];
} amx_row;

typedef struct amx_state {
    amx_config config; // palette 0: the tiles are off
    amx_row tiles[amx_tiles][amx_rows];
} amx_state;

// Of a model that asks for no memory: a handler may not.
static _Thread_local amx_state amx __attribute__((tls_model("initial-exec")));
static atomic_llong amx_instructions, amx_products;

static _Noreturn void amx_refuse(const uint8_t *at, const char *what)
{
    fprintf(stderr, "amx: %s:", what);
    for (int i = 0; i < 12; i++)
        fprintf(stderr, " %02x", at[i]);
    fprintf(stderr, "\n");
    abort();
}

// ---- instructions -----------------------------------------------------------------------------

// An instruction with a VEX prefix of three bytes, of the map 0F38.
typedef struct amx_instruction {
    const uint8_t *at;
    uint64_t address, stride; // of memory: base + displacement, index << scale
    int opcode, prefix;       // prefix 0, 1, 2, 3: none, 66, F3, F2
    int tile, first, second;  // of reg, r/m and vvvv
    int length;
    bool registers; // r/m is a tile
} amx_instruction;

static uint64_t amx_register(const greg_t *registers, int number)
{
    static const int where[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)registers[where[number]];
}

static int64_t amx_displacement(amx_instruction *in, int bytes)
{
    int32_t wide = 0;
    memcpy(&wide, in->at + in->length, (size_t)bytes);
    in->length += bytes;
    return bytes == 1 ? (int8_t)wide : wide;
}

// The address behind the ModRM byte, which is the fifth.
static void amx_read_address(amx_instruction *in, const greg_t *registers)
{
    const int mode = in->at[4] >> 6, low = in->at[4] & 7;
    const int high_index = in->at[1] & 0x40 ? 0 : 8, high_base = in->at[1] & 0x20 ? 0 : 8;
    int bytes = mode == 1 ? 1 : mode == 2 ? 4 : 0;
    if (low == 4) { // a SIB byte
        const int sib = in->at[in->length++];
        const int index = (sib >> 3 & 7) | high_index;
        if (index != 4) in->stride = amx_register(registers, index) << (sib >> 6);
        if ((sib & 7) == 5 && mode == 0)
            bytes = 4; // no base
        else
            in->address = amx_register(registers, (sib & 7) | high_base);
    } else if (low == 5 && mode == 0) { // from the end of the instruction on
        bytes = 4;
        in->address = (uint64_t)(uintptr_t)in->at + (uint64_t)in->length + 4;
    } else {
        in->address = amx_register(registers, low | high_base);
    }
    if (bytes > 0) in->address += (uint64_t)amx_displacement(in, bytes);
}

static amx_instruction amx_decode(const greg_t *registers)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)registers[REG_RIP];
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || (at[2] & 0x84) != 0)
        amx_refuse(at, "an instruction of another kind, which this processor lacks");
    amx_instruction in = {.at = at,
                          .opcode = at[3],
                          .prefix = at[2] & 3,
                          .tile = (at[4] >> 3 & 7) | (at[1] & 0x80 ? 0 : 8),
                          .first = at[4] & 7,
                          .second = ~at[2] >> 3 & 15,
                          .length = 5,
                          .registers = at[4] >> 6 == 3};
    if (!in.registers) amx_read_address(&in, registers);
    return in;
}

// A tile that may be named: below 8, and of a shape when the tiles were configured.
static void amx_check_tile(const amx_instruction *in, int tile)
{
    if (amx.config.palette != 1) amx_refuse(in->at, "tiles are used that are not configured");
    if (tile >= amx_tiles || amx.config.rows[tile] == 0 || amx.config.row_bytes[tile] == 0)
        amx_refuse(in->at, "a tile is used that has no shape");
}

// Memory that an instruction names, which the program must have.
static void *amx_memory(const amx_instruction *in, int row)
{
    return (void *)(uintptr_t)(in->address + (uint64_t)row * in->stride);
}

static void amx_load_config(const amx_instruction *in)
{
    amx_config config;
    memcpy(&config, amx_memory(in, 0), sizeof config);
    if (config.palette > 1 || config.start_row != 0) amx_refuse(in->at, "another palette than 1");
    for (int t = 0; t < amx_tiles; t++)
        if (config.rows[t] > amx_rows || config.row_bytes[t] > amx_row_bytes)
            amx_refuse(in->at, "a tile of more than 16 rows of 64 bytes");
    memset(&amx, 0, sizeof amx);
    amx.config = config;
}

static void amx_release(const amx_instruction *in)
{
    (void)in;
    memset(&amx, 0, sizeof amx);
}

static void amx_load(const amx_instruction *in)
{
    amx_check_tile(in, in->tile);
    memset(amx.tiles[in->tile], 0, sizeof amx.tiles[in->tile]);
    for (int r = 0; r < amx.config.rows[in->tile]; r++)
        memcpy(amx.tiles[in->tile][r].bytes, amx_memory(in, r), amx.config.row_bytes[in->tile]);
}

static void amx_store(const amx_instruction *in)
{
    amx_check_tile(in, in->tile);
    for (int r = 0; r < amx.config.rows[in->tile]; r++)
        memcpy(amx_memory(in, r), amx.tiles[in->tile][r].bytes, amx.config.row_bytes[in->tile]);
}

static void amx_zero(const amx_instruction *in)
{
    amx_check_tile(in, in->tile);
    memset(amx.tiles[in->tile], 0, sizeof amx.tiles[in->tile]);
}

static void amx_check_product(const amx_instruction *in)
{
    const int c = in->tile, a = in->first, b = in->second;
    amx_check_tile(in, c);
    amx_check_tile(in, a);
    amx_check_tile(in, b);
    const amx_config *is = &amx.config;
    if (c == a || a == b || b == c) amx_refuse(in->at, "a product with one tile twice");
    if (is->rows[c] != is->rows[a] || is->row_bytes[c] != is->row_bytes[b] ||
        is->row_bytes[a] != 4 * is->rows[b] || is->row_bytes[c] % 4 != 0)
        amx_refuse(in->at, "a product of tiles whose shapes do not fit");
}

// One row of C. What comes to stand in columns behind the tile's is never stored.
__attribute__((target("avx512f"))) static void amx_multiply_row(amx_row *c, const amx_row *a,
                                                                const amx_row *b, int pairs)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (int k = 0; k < pairs; k++) {
        const __m512i x = _mm512_set1_epi32((int)a->pair[k]);
        even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                               _mm512_castsi512_ps(_mm512_slli_epi32(b[k].i, 16)), even);
        odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, upper)),
                              _mm512_castsi512_ps(_mm512_and_si512(b[k].i, upper)), odd);
    }
    c->f = _mm512_add_ps(c->f, _mm512_add_ps(even, odd));
}

// The handler's own MXCSR, of which a signal's end leaves nothing: to nearest, denormals are 0.
static void amx_multiply(const amx_instruction *in)
{
    amx_check_product(in);
    _mm_setcsr(0x1f80 | 0x8000 | 0x0040);
    for (int m = 0; m < amx.config.rows[in->tile]; m++)
        amx_multiply_row(&amx.tiles[in->tile][m], &amx.tiles[in->first][m], amx.tiles[in->second],
                         amx.config.row_bytes[in->first] / 4);
    atomic_fetch_add_explicit(&amx_products, 1, memory_order_relaxed);
}

typedef struct amx_kind {
    int opcode, prefix;
    bool registers;
    void (*run)(const amx_instruction *in);
} amx_kind;

static const amx_kind amx_kinds[] = {
    {0x49, 0, true, amx_release},      // tilerelease
    {0x49, 3, true, amx_zero},         // tilezero
    {0x49, 0, false, amx_load_config}, // ldtilecfg
    {0x4b, 3, false, amx_load},        // tileloadd
    {0x4b, 1, false, amx_load},        // tileloaddt1
    {0x4b, 2, false, amx_store},       // tilestored
    {0x5c, 2, true, amx_multiply},     // tdpbf16ps
};

static void amx_on_illegal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const amx_instruction in = amx_decode(registers);
    for (size_t i = 0; i < sizeof amx_kinds / sizeof *amx_kinds; i++) {
        const amx_kind *kind = &amx_kinds[i];
        if (kind->opcode != in.opcode || kind->prefix != in.prefix ||
            kind->registers != in.registers)
            continue;
        kind->run(&in);
        registers[REG_RIP] += in.length;
        atomic_fetch_add_explicit(&amx_instructions, 1, memory_order_relaxed);
        return;
    }
    amx_refuse(in.at, "an instruction of AMX that is not emulated");
}

// ---- CPUID ------------------------------------------------------------------------------------

// Without the C library: no errno is touched in a handler.
static long amx_trap_cpuid(bool trap)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_arch_prctl), "D"((long)amx_cpuid_set), "S"((long)!trap)
                     : "rcx", "r11", "memory");
    return result;
}

typedef struct amx_answer {
    uint32_t a, b, c, d;
} amx_answer;

// What this processor says, with AMX-BF16 and AVX512-BF16, which AMX's processors have, put in.
static amx_answer amx_answer_cpuid(uint32_t leaf, uint32_t part)
{
    amx_answer says;
    __cpuid_count(leaf, part, says.a, says.b, says.c, says.d);
    if (leaf == 0 && says.a < 0x1e) says.a = 0x1e;
    if (leaf == 7 && part == 0) {
        if (says.a < 1) says.a = 1;
        says.d |= 1u << 22 | 1u << 24 | 1u << 25; // AMX-BF16, AMX-TILE, AMX-INT8
    }
    if (leaf == 7 && part == 1) says.a |= 1u << 5; // AVX512-BF16
    if (leaf == 0x1d)                              // palettes: 8 tiles of 1 KB, rows of 64 bytes
        says = part == 0   ? (amx_answer){.a = 1}
               : part == 1 ? (amx_answer){.a = 8192 | 1024u << 16, .b = 64 | 8u << 16, .c = 16}
                           : (amx_answer){.a = 0};
    if (leaf == 0x1e) says = (amx_answer){.b = 16 | 64u << 8}; // the largest product
    return says;
}

typedef int (*amx_sigaction_function)(int, const struct sigaction *, struct sigaction *);

static int amx_next_sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
    return ((amx_sigaction_function)dlsym(RTLD_NEXT, "sigaction"))(number, new, old);
}

// CPUID, or a fault of the program, which then happens again without this handler.
static void amx_on_fault(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)(uintptr_t)registers[REG_RIP];
    // A fault of memory has another code, and at an address that may not be read.
    if (info->si_code != SI_KERNEL || at[0] != 0x0f || at[1] != 0xa2) {
        static const char said[] = "amx: a fault of the program itself\n";
        if (write(STDERR_FILENO, said, sizeof said - 1) < 0) _exit(1);
        const struct sigaction plain = {.sa_handler = SIG_DFL};
        if (amx_next_sigaction(number, &plain, NULL) != 0) _exit(1);
        return;
    }
    amx_trap_cpuid(false);
    const amx_answer says =
        amx_answer_cpuid((uint32_t)registers[REG_RAX], (uint32_t)registers[REG_RCX]);
    amx_trap_cpuid(true);
    registers[REG_RAX] = says.a;
    registers[REG_RBX] = says.b;
    registers[REG_RCX] = says.c;
    registers[REG_RDX] = says.d;
    registers[REG_RIP] += 2;
}

// ---- in the place of the C library's ----------------------------------------------------------

typedef void (*amx_handler)(int);
typedef amx_handler (*amx_signal_function)(int, amx_handler);
typedef long (*amx_syscall_function)(long, ...);

static bool amx_is_ours(int number)
{
    return number == SIGSEGV || number == SIGILL;
}

int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
    if (!amx_is_ours(number)) return amx_next_sigaction(number, new, old);
    if (old != NULL) *old = (struct sigaction){.sa_handler = SIG_DFL};
    return 0;
}

amx_handler signal(int number, amx_handler handler)
{
    if (amx_is_ours(number)) return SIG_DFL;
    return ((amx_signal_function)dlsym(RTLD_NEXT, "signal"))(number, handler);
}

long syscall(long number, ...)
{
    va_list list;
    long with[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        with[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_arch_prctl && with[0] == amx_get_permission) {
        *(uint64_t *)(uintptr_t)with[1] = 3u << 17; // tiles and their configuration
        return 0;
    }
    if (number == SYS_arch_prctl && with[0] == amx_ask_permission) return 0;
    return ((amx_syscall_function)dlsym(RTLD_NEXT, "syscall"))(number, with[0], with[1], with[2],
                                                               with[3], with[4], with[5]);
}

// ---- before and after -------------------------------------------------------------------------

static _Noreturn void amx_skip(const char *why)
{
    fprintf(stderr, "amx: not emulated, %s\n", why);
    _exit(amx_skipped);
}

// Threads and forks inherit the trap; a program that is started loads this anew.
__attribute__((constructor)) static void amx_start(void)
{
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        amx_skip("the processor has no AVX-512, which our code for AMX needs beside it");
    struct sigaction illegal = {.sa_flags = SA_SIGINFO, .sa_sigaction = amx_on_illegal};
    struct sigaction fault = {.sa_flags = SA_SIGINFO, .sa_sigaction = amx_on_fault};
    if (amx_next_sigaction(SIGILL, &illegal, NULL) || amx_next_sigaction(SIGSEGV, &fault, NULL))
        amx_skip("its handlers were refused");
    if (getenv("SG_TEST_AMX") == NULL && amx_trap_cpuid(true) != 0)
        amx_skip("CPUID cannot be made to fault here (arch_prctl ARCH_CPUID_SET)");
}

__attribute__((destructor)) static void amx_end(void)
{
    const long long all = atomic_load(&amx_instructions), products = atomic_load(&amx_products);
    fprintf(stderr, "amx: %lld instructions emulated, %lld of them products\n", all, products);
}
