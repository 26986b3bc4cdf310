// What a run's bar says of its speed: against what was measured, when, and not at all where that
// says nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/train_talk.h"

static void test_share(void **state)
{
    (void)state;
    static const struct {
        double work, peak, age;
        sg_compute_kind compute, logits;
        const char *text;
    } cases[] = {
        {76e9, 152e9, 20.4, SG_COMPUTE_F32, SG_COMPUTE_F32,
         "50% of 152 GFLOP/s, measured 20 s ago"},
        {1e12, 2e12, 0, SG_COMPUTE_BF16, SG_COMPUTE_F32,
         "50% of 2.00k GFLOP/s in bf16, measured 0 s ago"},
        {1e9, 4e9, 130, SG_COMPUTE_BF16X3, SG_COMPUTE_BF16X3,
         "25% of 4 GFLOP/s in bf16x3, measured 2 min ago"},
        {4e9, 4e9, 1, SG_COMPUTE_F32, SG_COMPUTE_F32, "100% of 4 GFLOP/s, measured 1 s ago"},
        // Others had the machine when it was measured.
        {166e9, 100e9, 5, SG_COMPUTE_F32, SG_COMPUTE_F32, ""},
        {1e9, 0, 5, SG_COMPUTE_F32, SG_COMPUTE_F32, ""}, // not measured
        {0, 1e9, 5, SG_COMPUTE_F32, SG_COMPUTE_F32, ""}, // no step yet
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[96];
        const sg_train_options o = {.compute = cases[i].compute, .logits_compute = cases[i].logits};
        const sg_train_event e = {.work_per_second = cases[i].work,
                                  .peak_per_second = cases[i].peak,
                                  .peak_age = cases[i].age,
                                  .options = &o};
        assert_string_equal(cli_train_share(&e, text, sizeof text), cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
