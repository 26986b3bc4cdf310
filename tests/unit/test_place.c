// Places of values in a tape's memory: those of the plain rule, which looks at every other value,
// and none where another one lives.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "tensor/place.h"

enum { most = 400 };

typedef struct plan {
    sg_place items[most];
    int count, steps;
} plan;

static int64_t below(sg_rng *rng, int64_t limit)
{
    return (int64_t)(sg_rng_next_uniform(rng) * (double)limit);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Lives of at most `longest` steps; some are there twice, some never.
static void make_plan(plan *p, int count, int steps, int longest, int sizes, uint64_t seed)
{
    sg_rng rng = {.seed = seed};
    *p = (plan){.count = count, .steps = steps};
    for (int i = 0; i < count; i++) {
        sg_life *life = &p->items[i].life;
        p->items[i].bytes = 64 * (size_t)(1 + below(&rng, sizes));
        life->spans = (int)below(&rng, 8) == 0 ? 0 : 1;
        life->begin[0] = (int)below(&rng, steps);
        life->end[0] = (int)smaller(steps - 1, life->begin[0] + below(&rng, longest));
        if (life->spans == 0 || life->end[0] + 2 >= steps || below(&rng, 4) != 0) continue;
        life->spans = 2;
        life->begin[1] = life->end[0] + 1 + (int)below(&rng, steps - life->end[0] - 1);
        life->end[1] = (int)smaller(steps - 1, life->begin[1] + below(&rng, longest));
    }
}

static bool together(const sg_life *a, const sg_life *b)
{
    for (int i = 0; i < a->spans; i++)
        for (int j = 0; j < b->spans; j++)
            if (a->begin[i] <= b->end[j] && b->begin[j] <= a->end[i]) return true;
    return false;
}

static bool larger(const plan *p, int a, int b)
{
    return p->items[a].bytes != p->items[b].bytes ? p->items[a].bytes > p->items[b].bytes : a < b;
}

// The lowest offset of item i that no larger one takes: tried are 0 and the ends of all of them.
static size_t plain_offset(const plan *p, const size_t *offsets, int i)
{
    size_t best = SIZE_MAX;
    for (int e = -1; e < p->count; e++) {
        size_t at = e < 0 ? 0 : offsets[e] + p->items[e].bytes;
        bool is_free = at < best && (e < 0 || larger(p, e, i));
        for (int j = 0; is_free && j < p->count; j++)
            is_free = !larger(p, j, i) || !together(&p->items[i].life, &p->items[j].life) ||
                      at >= offsets[j] + p->items[j].bytes || offsets[j] >= at + p->items[i].bytes;
        if (is_free) best = at;
    }
    return best;
}

static void check(plan *p)
{
    size_t offsets[most] = {0}, total, expected = 0;
    int order[most];
    sg_error err = {0};
    assert_int_equal(sg_place_all(p->items, p->count, p->steps, &total, &err), SG_OK);
    for (int i = 0; i < p->count; i++) { // by size, by insertion
        int at = i;
        for (; at > 0 && larger(p, i, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (int i = 0; i < p->count; i++) {
        const int item = order[i];
        const size_t offset = plain_offset(p, offsets, item), bytes = p->items[item].bytes;
        offsets[item] = offset;
        assert_int_equal(p->items[item].offset, offset);
        if (offset + bytes > expected) expected = offset + bytes;
    }
    assert_int_equal(total, expected);
}

static void test_lowest(void **state)
{
    (void)state;
    static const int longest[] = {1, 4, 30, 200};
    static plan p;
    for (uint64_t seed = 0; seed < 60; seed++) {
        const int count = 1 + (int)(seed * 37 % 150), steps = 1 + (int)(seed * 53 % 200);
        make_plan(&p, count, steps, longest[seed % 4], seed % 3 ? 40 : 3, seed);
        check(&p);
    }
    make_plan(&p, 0, 1, 1, 1, 0);
    check(&p);
}

static sg_status place(void *user, sg_error *err)
{
    plan *p = user;
    size_t total;
    return sg_place_all(p->items, p->count, p->steps, &total, err);
}

static void test_memory(void **state)
{
    (void)state;
    static plan p;
    make_plan(&p, most, 300, 100, 50, 3);
    assert_true(alloc_failure_loop(place, &p) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lowest),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
