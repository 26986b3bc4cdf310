// Patterns of names: what fits, against the plainest definition; lists of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/name_pattern.h"
#include "base/rng.h"

// By definition: a * is nothing, or one character and itself.
static bool fits(const char *pattern, const char *name)
{
    if (*pattern == '\0') return *name == '\0';
    if (*pattern == '*')
        return fits(pattern + 1, name) || (*name != '\0' && fits(pattern, name + 1));
    return *pattern == *name && fits(pattern + 1, name + 1);
}

static void test_definition(void **state)
{
    (void)state;
    int yes = 0;
    sg_rng rng = {.seed = 3};
    for (int i = 0; i < 20000; i++) {
        char pattern[8] = "", name[10] = "";
        uint64_t p = sg_rng_next_below(&rng, sizeof pattern);
        uint64_t n = sg_rng_next_below(&rng, sizeof name);
        for (uint64_t j = 0; j < p; j++)
            pattern[j] = "ab*"[sg_rng_next_below(&rng, 3)];
        for (uint64_t j = 0; j < n; j++)
            name[j] = "ab"[sg_rng_next_below(&rng, 2)];
        const bool expected = fits(pattern, name);
        if (sg_name_fits(pattern, strlen(pattern), name) != expected)
            fail_msg("\"%s\" on \"%s\": found %d, expected %d", pattern, name, !expected, expected);
        yes += expected;
    }
    assert_true(yes > 1000 && yes < 19000);
}

static void test_names(void **state)
{
    (void)state;
    static const char q[] = "model.layers.12.self_attn.q_proj.weight";
    assert_true(sg_name_fits("*.q_proj.*", 10, q));
    assert_true(sg_name_fits("model.layers.*.weight", 21, q));
    assert_false(sg_name_fits("model.layers.1.*", 16, q));
    assert_false(sg_name_fits("q_proj", 6, q));
    // Only `bytes` of the pattern count, and no pattern takes long.
    assert_true(sg_name_fits("model*,lm_head", 6, q));
    assert_false(
        sg_name_fits("*a*a*a*a*a*a*a*a*a*a*a*a*b", 26,
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void test_lists(void **state)
{
    (void)state;
    const char *list = "a,bc,,d", *item;
    static const char *const expected[] = {"a", "bc", "", "d"};
    size_t bytes;
    int count = 0;
    while ((item = sg_name_list_next(&list, &bytes)) != NULL) {
        assert_true(count < 4 && bytes == strlen(expected[count]));
        assert_memory_equal(item, expected[count], bytes);
        count++;
    }
    assert_int_equal(count, 4);
    list = "";
    assert_non_null(sg_name_list_next(&list, &bytes));
    assert_true(bytes == 0 && sg_name_list_next(&list, &bytes) == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
