// The memory seam: overflow, failure by hook, growth, and the counters that other tests trust.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/arena.h"

typedef struct hook_record {
    bool allow;
    int calls;
    size_t last;
} hook_record;

static bool hook(void *user, size_t bytes)
{
    hook_record *record = user;
    record->calls++;
    record->last = bytes;
    return record->allow;
}

static void test_zero_bytes(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    void *a = sg_alloc(0), *b = sg_alloc_zero(0, 8), *c = sg_alloc_array(8, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_int_equal(sg_alloc_live(), live + 3);
    sg_free(a);
    sg_free(b);
    sg_free(c);
    sg_free(NULL);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_overflow(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    assert_null(sg_alloc_zero(SIZE_MAX / 2, 3));
    assert_null(sg_alloc_array(SIZE_MAX / 2, 3));
    assert_null(sg_alloc_array(SIZE_MAX, SIZE_MAX));
    void *array = NULL;
    size_t capacity = 0;
    assert_false(sg_grow(&array, &capacity, SIZE_MAX / 2, 16));
    assert_null(array);
    assert_int_equal(capacity, 0);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_zeroed(void **state)
{
    (void)state;
    unsigned char *p = sg_alloc_zero(100, 7);
    for (int i = 0; i < 700; i++)
        assert_int_equal(p[i], 0);
    sg_free(p);
    const size_t big = 5u << 20;
    unsigned char *q = sg_alloc_big(big);
    assert_non_null(q);
    assert_int_equal((uintptr_t)q % 64, 0);
    for (size_t i = 0; i < big; i += 511)
        assert_int_equal(q[i], 0);
    q[big - 1] = 1;
    sg_free_big(q, big);
    q = sg_alloc_big(0);
    assert_non_null(q);
    sg_free_big(q, 0);
    sg_free_big(NULL, 0);
}

static void test_resize(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    char *text = sg_realloc(NULL, 4);
    memcpy(text, "abc", 4);
    text = sg_realloc(text, 100000);
    assert_string_equal(text, "abc");
    hook_record record = {.allow = false};
    sg_alloc_set_hook(hook, &record);
    assert_null(sg_realloc(text, 200000));
    sg_alloc_set_hook(NULL, NULL);
    assert_string_equal(text, "abc");
    assert_int_equal(sg_alloc_live(), live + 1);
    sg_free(text);
}

static void test_hook_sees_everything(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live(), count = sg_alloc_count();
    hook_record record = {.allow = false};
    void *array = NULL;
    size_t capacity = 0;
    sg_arena arena = {0};
    sg_alloc_set_hook(hook, &record);
    assert_null(sg_alloc(11));
    assert_int_equal(record.last, 11);
    assert_null(sg_alloc_zero(3, 5));
    assert_int_equal(record.last, 15);
    assert_null(sg_alloc_array(4, 5));
    assert_int_equal(record.last, 20);
    assert_null(sg_realloc(NULL, 9));
    assert_null(sg_strdup("four"));
    assert_int_equal(record.last, 5);
    assert_null(sg_strndup("four", 2));
    assert_null(sg_alloc_big(1 << 20));
    assert_false(sg_grow(&array, &capacity, 1, 8));
    assert_null(sg_arena_alloc(&arena, 10));
    sg_alloc_set_hook(NULL, NULL);
    assert_int_equal(record.calls, 9);
    assert_int_equal(sg_alloc_count() - count, 9);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_grow_keeps_content(void **state)
{
    (void)state;
    int *array = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 10000; i++) {
        assert_true(sg_grow((void **)&array, &capacity, (size_t)i + 1, sizeof *array));
        assert_true(capacity > (size_t)i);
        array[i] = i;
    }
    for (int i = 0; i < 10000; i++)
        assert_int_equal(array[i], i);
    sg_free(array);
}

static void test_arena(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    sg_arena arena = {0};
    char *first = sg_arena_strndup(&arena, "first word", 5);
    assert_string_equal(first, "first");
    for (size_t bytes = 0; bytes < 300000; bytes = bytes * 2 + 1) {
        unsigned char *p = sg_arena_alloc(&arena, bytes);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xff, bytes);
    }
    assert_string_equal(first, "first");
    assert_null(sg_arena_alloc(&arena, SIZE_MAX));
    sg_arena_free(&arena);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_whole_lines(void **state)
{
    (void)state;
    assert_int_equal(sg_whole_lines(0), 0);
    assert_int_equal(sg_whole_lines(1), 64);
    assert_int_equal(sg_whole_lines(64), 64);
    assert_int_equal(sg_whole_lines(65), 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_bytes),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_hook_sees_everything),
        cmocka_unit_test(test_grow_keeps_content),
        cmocka_unit_test(test_whole_lines),
        cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
