// What is said of a machine: texts of several kinds of processors, and the limit that follows.
#include "unit/kernel_check.h"

#include "kernel/machine.h"

static const char server[] =
    "processor\t: 0\n"
    "vendor_id\t: GenuineIntel\n"
    "cpu family\t: 6\n"
    "model\t\t: 207\n"
    "model name\t: Intel(R) Xeon(R) Processor\n"
    "stepping\t: 2\n"
    "cpu MHz\t\t: 2300.000\n"
    "siblings\t: 8\n"
    "cpu cores\t: 4\n"
    "flags\t\t: fpu sse4_1 avx fma f16c avx2 avx512f avx512fp avx512_bf16\n"
    "bugs\t\t: avx512_vnni\n";

static void test_cpuinfo(void **state)
{
    (void)state;
    sg_machine m = {.threads = 5, .cores = 5};
    sg_machine_take_cpuinfo(&m, server);
    assert_string_equal(m.cpu, "Intel(R) Xeon(R) Processor");
    assert_string_equal(m.cpu_kind, "GenuineIntel family 6 model 207 stepping 2");
    assert_string_equal(m.flags, "sse4_1 avx avx2 fma f16c avx512f avx512_bf16");
    assert_int_equal(m.cores, 3); // five threads of eight, two to a core
    assert_true(m.ghz == 2.3);
    assert_string_equal(m.ghz_from, "/proc/cpuinfo");

    // A name that has the frequency is believed before what it happens to be now; either after what
    // was known before.
    m = (sg_machine){.threads = 2, .cores = 2};
    sg_machine_take_cpuinfo(&m, "model name : Some CPU @ 3.50GHz\ncpu MHz : 800.0\n");
    assert_true(m.ghz == 3.5 && m.cores == 2);
    assert_string_equal(m.cpu_kind, "");
    assert_string_equal(m.flags, "");
    m = (sg_machine){.ghz = 4, .ghz_from = "cpufreq"};
    sg_machine_take_cpuinfo(&m, server);
    assert_true(m.ghz == 4);
    assert_string_equal(m.ghz_from, "cpufreq");

    // Of ARM, and of nothing at all.
    m = (sg_machine){.threads = 4, .cores = 4};
    sg_machine_take_cpuinfo(&m, "processor : 0\nFeatures : fp asimd asimdhp sve");
    assert_string_equal(m.flags, "asimd asimdhp sve");
    assert_true(m.ghz == 0 && m.cores == 4);
    assert_null(m.ghz_from);
    sg_machine_take_cpuinfo(&m, "cpu MHz : 0\nsiblings : 0\ncpu cores : 9\nmodel name");
    assert_true(m.ghz == 0 && m.cores == 4);
    assert_string_equal(m.cpu, "");
}

static void test_cpuinfo_too_long(void **state)
{
    (void)state;
    char text[2000], word[] = "avx2 ";
    int used = snprintf(text, sizeof text, "model name : ");
    memset(text + used, 'x', 300);
    used += 300;
    used += snprintf(text + used, sizeof text - (size_t)used, "\nflags : ");
    while (used < 1900)
        used += snprintf(text + used, sizeof text - (size_t)used, "%s", word);
    sg_machine m = {0};
    sg_machine_take_cpuinfo(&m, text);
    assert_int_equal(strlen(m.cpu), sizeof m.cpu - 1);
    assert_string_equal(m.flags, "avx2");
}

static void test_this_machine(void **state)
{
    (void)state;
    sg_machine m;
    sg_machine_describe(&m);
    assert_int_equal(m.threads, sg_cpu_detect().cores);
    assert_in_range(m.cores, 1, m.threads);
    assert_true(m.memory_bytes > 1 << 20);
    assert_true(strlen(m.system) > 0);
    assert_true((m.ghz > 0) == (m.ghz_from != NULL));
    if (m.vector_bits == 512) assert_non_null(strstr(m.flags, "avx512f"));
    if (m.vector_bits == 256) assert_non_null(strstr(m.flags, "avx2"));
}

static void test_libraries(void **state)
{
    (void)state;
    sg_library list[32] = {{0}};
    const size_t count = sg_libraries(list, 32);
    assert_in_range(count, 1, 32);
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(list[i].name) > 0);
        assert_true(list[i].version[0] >= '0' && list[i].version[0] <= '9');
    }
    sg_library one[2] = {{.name = "end"}, {.name = "end"}};
    assert_int_equal(sg_libraries(one, 1), count);
    assert_string_equal(one[0].name, list[0].name);
    assert_string_equal(one[1].name, "end");
    assert_true(strstr(sg_compiler(), "gcc ") == sg_compiler() ||
                strstr(sg_compiler(), "clang ") == sg_compiler());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpuinfo),
        cmocka_unit_test(test_cpuinfo_too_long),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
