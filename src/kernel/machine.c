// What this machine is and what its products can reach at most, from what the processor and the
// system say; nothing is measured here, so that what is measured can be held against it.
#include "kernel/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/file.h"

enum { machine_text = 16 << 10 }; // the first processor of a cpuinfo, flags and all

// ---- texts ------------------------------------------------------------------------------------

// Instruction sets that something here computes with, or oneDNN does, of x86 and of ARM.
static const char *const machine_flags[] = {
    "sse4_1",      "avx",         "avx2",        "fma",         "f16c",     "avx_vnni", "avx512f",
    "avx512bw",    "avx512dq",    "avx512vl",    "avx512_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "avx512_bf16", "avx512_fp16", "avx512_vbmi", "amx_fp16",    "asimd",    "asimdhp",  "asimddp",
    "bf16",        "i8mm",        "sve",         "sve2"};

// The value of the first line "name : value", cut to fit; "" without one.
static void machine_line(const char *text, const char *name, char *value, size_t size)
{
    const size_t length = strlen(name);
    value[0] = '\0';
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *colon = line + length;
        if (strncmp(line, name, length) == 0) {
            colon += strspn(colon, " \t");
            if (*colon == ':') {
                colon += 1 + strspn(colon + 1, " \t");
                snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
                return;
            }
        }
        line = strchr(line, '\n');
        if (line != NULL) line++;
    }
}

static bool machine_has_word(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = words; *at != '\0';) {
        const size_t size = strcspn(at, " ");
        if (size == length && memcmp(at, word, length) == 0) return true;
        at += size;
        at += strspn(at, " ");
    }
    return false;
}

static void machine_take_flags(sg_machine *machine, const char *text)
{
    char words[8192];
    machine_line(text, "flags", words, sizeof words);
    if (words[0] == '\0') machine_line(text, "Features", words, sizeof words);
    size_t used = 0;
    for (size_t i = 0; i < sizeof machine_flags / sizeof *machine_flags; i++) {
        if (!machine_has_word(words, machine_flags[i])) continue;
        const int put = snprintf(machine->flags + used, sizeof machine->flags - used, "%s%s",
                                 used > 0 ? " " : "", machine_flags[i]);
        used += (size_t)put;
        if (used >= sizeof machine->flags) return;
    }
}

static void machine_take_ghz(sg_machine *machine, double ghz, const char *from)
{
    // A kernel that does not know says 0, one that guesses no more than this.
    if (machine->ghz > 0 || !(ghz >= 0.1 && ghz <= 20)) return;
    machine->ghz = ghz;
    machine->ghz_from = from;
}

void sg_machine_take_cpuinfo(sg_machine *machine, const char *text)
{
    char vendor[32], family[16], model[16], stepping[16], value[64];
    machine_line(text, "model name", machine->cpu, sizeof machine->cpu);
    machine_line(text, "vendor_id", vendor, sizeof vendor);
    machine_line(text, "cpu family", family, sizeof family);
    machine_line(text, "model", model, sizeof model);
    machine_line(text, "stepping", stepping, sizeof stepping);
    if (vendor[0] != '\0')
        snprintf(machine->cpu_kind, sizeof machine->cpu_kind, "%s family %s model %s stepping %s",
                 vendor, family, model, stepping);
    machine_take_flags(machine, text);
    // Two threads of a core share its units.
    machine_line(text, "siblings", value, sizeof value);
    const int siblings = atoi(value);
    machine_line(text, "cpu cores", value, sizeof value);
    const int cores = atoi(value);
    if (siblings >= cores && cores > 0)
        machine->cores = (int)(((int64_t)machine->threads * cores + siblings - 1) / siblings);
    const char *at = strstr(machine->cpu, "@ ");
    if (at != NULL && strstr(at, "GHz") != NULL)
        machine_take_ghz(machine, atof(at + 2), "the processor's name");
    machine_line(text, "cpu MHz", value, sizeof value);
    machine_take_ghz(machine, atof(value) / 1000, "/proc/cpuinfo");
}

// ---- this machine -----------------------------------------------------------------------------

// The beginning of a file whose size the system does not tell; "" where it cannot be read.
static void machine_read(const char *path, char *text, size_t size)
{
    const sg_fs *fs = sg_fs_get();
    size_t got = 0;
    const int handle = fs->open(fs->user, path, SG_FS_READ);
    while (handle >= 0 && got < size - 1) {
        const int64_t more = fs->read(fs->user, handle, text + got, size - 1 - got);
        if (more <= 0) break;
        got += (size_t)more;
    }
    if (handle >= 0) fs->close(fs->user, handle);
    text[got] = '\0';
}

// The highest frequency, as far as anybody tells; the nominal one is better than none.
static void machine_ask_ghz(sg_machine *machine)
{
    char text[32];
    machine_read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", text, sizeof text);
    machine_take_ghz(machine, atof(text) / 1e6, "cpufreq");
#if defined(__x86_64__)
    unsigned base = 0, most = 0, bus = 0, none = 0;
    if (__get_cpuid(0x16, &base, &most, &bus, &none))
        machine_take_ghz(machine, (double)(most & 0xffff) / 1000, "cpuid");
#endif
}

void sg_machine_describe(sg_machine *machine)
{
    char text[machine_text];
    struct utsname system;
    const sg_cpu cpu = sg_cpu_detect();
    *machine = (sg_machine){.threads = cpu.cores, .cores = cpu.cores};
    machine_ask_ghz(machine);
    machine_read("/proc/cpuinfo", text, sizeof text);
    sg_machine_take_cpuinfo(machine, text);
    machine->vector_bits = cpu.avx512 ? 512 : cpu.avx2_fma ? 256 : 128;
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) machine->memory_bytes = (int64_t)pages * page;
    if (uname(&system) == 0)
        snprintf(machine->system, sizeof machine->system, "%s %s %s", system.sysname,
                 system.release, system.machine);
}
