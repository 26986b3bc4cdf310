// The tests of chat templates: what may stand behind `is`.
#include <math.h>
#include <string.h>

#include "text/chat_value.h"

#define TEST(name, truth)                                                                          \
    static sg_status test_##name(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)       \
    {                                                                                              \
        (void)r;                                                                                   \
        *out = sg_chat_bool(truth);                                                                \
        return SG_OK;                                                                              \
    }

TEST(defined, v->type != SG_CHAT_IS_UNDEFINED)
TEST(undefined, v->type == SG_CHAT_IS_UNDEFINED)
TEST(none, v->type == SG_CHAT_IS_NONE)
TEST(boolean, v->type == SG_CHAT_IS_BOOL)
TEST(true, v->type == SG_CHAT_IS_BOOL && v->integer == 1)
TEST(false, v->type == SG_CHAT_IS_BOOL && v->integer == 0)
TEST(integer, v->type == SG_CHAT_IS_INTEGER)
TEST(float, v->type == SG_CHAT_IS_REAL)
TEST(number, sg_chat_is_number(v))
TEST(string, v->type == SG_CHAT_IS_STRING)
TEST(mapping, v->type == SG_CHAT_IS_MAP)
// Of what has a length and items by index: a map too, a view of it not.
TEST(sequence, (v->type >= SG_CHAT_IS_STRING && v->type <= SG_CHAT_IS_RANGE) ||
                   v->type == SG_CHAT_IS_MAP || v->type == SG_CHAT_IS_UNDEFINED)
TEST(iterable, (v->type >= SG_CHAT_IS_STRING && v->type <= SG_CHAT_IS_MAP) ||
                   v->type == SG_CHAT_IS_LOOP || v->type == SG_CHAT_IS_UNDEFINED)
TEST(callable, (v->type >= SG_CHAT_IS_LOOP && v->type <= SG_CHAT_IS_METHOD) ||
                   v->type == SG_CHAT_IS_JOINER || v->type == SG_CHAT_IS_UNDEFINED)
TEST(escaped, v->type == SG_CHAT_IS_STRING && v->markup)
TEST(filter, v->type == SG_CHAT_IS_STRING && sg_chat_filter_row(v->text, v->count) != NULL)
TEST(test, v->type == SG_CHAT_IS_STRING && sg_chat_test_row(v->text, v->count) != NULL)

// v[0] % v[1]
static sg_status test_rest(sg_chat_run *r, const sg_chat_value *v, int64_t by, double *rest)
{
    if (sg_chat_is_whole(v) && by != 0) {
        *rest = by == -1 ? 0 : (double)(v->integer % by);
        if (*rest != 0 && (*rest < 0) != (by < 0)) *rest += (double)by;
        return SG_OK;
    }
    if (v->type != SG_CHAT_IS_REAL || by == 0)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "what is left of %s divided by %lld",
                              sg_chat_type_name(v), (long long)by);
    *rest = fmod(v->real, (double)by);
    if (*rest != 0 && (*rest < 0) != (by < 0)) *rest += (double)by;
    return SG_OK;
}

static sg_status test_odd(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    double rest = 0;
    SG_TRY(test_rest(r, v, 2, &rest));
    *out = sg_chat_bool(rest == 1);
    return SG_OK;
}

static sg_status test_even(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    double rest = 0;
    SG_TRY(test_rest(r, v, 2, &rest));
    *out = sg_chat_bool(rest == 0);
    return SG_OK;
}

static sg_status test_divisible(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    double rest = 0;
    if (!sg_chat_is_whole(&v[1]))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a division by %s", sg_chat_type_name(&v[1]));
    SG_TRY(test_rest(r, v, v[1].integer, &rest));
    *out = sg_chat_bool(rest == 0);
    return SG_OK;
}

// str(value).islower(): letters with a case are there, and all of that one.
static sg_status test_cased(sg_chat_run *r, const sg_chat_value *v, int wanted, sg_chat_value *out)
{
    sg_chat_value text;
    bool any = false, all = true;
    SG_TRY(sg_chat_str(r, v, &text));
    SG_TRY(sg_chat_pay_bytes(r, 8 * text.count));
    for (size_t i = 0; i < text.count;) {
        uint32_t code;
        i += (size_t)sg_utf8_decode_valid(text.text + i, &code);
        int is = sg_chat_case_of(code);
        any = any || is == wanted;
        all = all && (is == 0 || is == wanted);
    }
    *out = sg_chat_bool(any && all);
    return SG_OK;
}

static sg_status test_lower(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    return test_cased(r, v, 1, out);
}

static sg_status test_upper(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    return test_cased(r, v, 2, out);
}

static sg_status test_in(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    bool found;
    SG_TRY(sg_chat_contains(r, &v[1], &v[0], &found));
    *out = sg_chat_bool(found);
    return SG_OK;
}

// Python's `is`: of small things by value, of lists and the like by what they are.
static sg_status test_same(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    bool same = v[0].type == v[1].type;
    if (same && v[0].type >= SG_CHAT_IS_REAL && v[0].type <= SG_CHAT_IS_STRING)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "sameas of %s", sg_chat_type_name(&v[0]));
    if (same && v[0].type > SG_CHAT_IS_NONE) same = v[0].integer == v[1].integer;
    *out = sg_chat_bool(same);
    return SG_OK;
}

static sg_status test_equal(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    bool equal;
    SG_TRY(sg_chat_equal(r, &v[0], &v[1], &equal));
    *out = sg_chat_bool(equal);
    return SG_OK;
}

static sg_status test_unequal(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    SG_TRY(test_equal(r, v, out));
    out->integer = !out->integer;
    return SG_OK;
}

#define ORDER(name, truth)                                                                         \
    static sg_status test_##name(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)       \
    {                                                                                              \
        int order;                                                                                 \
        SG_TRY(sg_chat_order(r, &v[0], &v[1], &order));                                            \
        *out = sg_chat_bool(truth);                                                                \
        return SG_OK;                                                                              \
    }

ORDER(less, order == -1)
ORDER(less_equal, order == -1 || order == 0)
ORDER(greater, order == 1)
ORDER(greater_equal, order == 1 || order == 0)

static const sg_chat_row tests[] = {
    {"defined", 0, "", test_defined},
    {"undefined", 0, "", test_undefined},
    {"none", 0, "", test_none},
    {"boolean", 0, "", test_boolean},
    {"true", 0, "", test_true},
    {"false", 0, "", test_false},
    {"integer", 0, "", test_integer},
    {"float", 0, "", test_float},
    {"number", 0, "", test_number},
    {"string", 0, "", test_string},
    {"mapping", 0, "", test_mapping},
    {"sequence", 0, "", test_sequence},
    {"iterable", 0, "", test_iterable},
    {"callable", 0, "", test_callable},
    {"escaped", 0, "", test_escaped},
    {"filter", 0, "", test_filter},
    {"test", 0, "", test_test},
    {"odd", 0, "", test_odd},
    {"even", 0, "", test_even},
    {"divisibleby", 1, "num", test_divisible},
    {"lower", 0, "", test_lower},
    {"upper", 0, "", test_upper},
    {"in", 1, "seq", test_in},
    {"sameas", 1, "other", test_same},
    {"==", 1, "b", test_equal},
    {"eq", 1, "b", test_equal},
    {"equalto", 1, "b", test_equal},
    {"!=", 1, "b", test_unequal},
    {"ne", 1, "b", test_unequal},
    {"<", 1, "b", test_less},
    {"lt", 1, "b", test_less},
    {"lessthan", 1, "b", test_less},
    {"<=", 1, "b", test_less_equal},
    {"le", 1, "b", test_less_equal},
    {">", 1, "b", test_greater},
    {"gt", 1, "b", test_greater},
    {"greaterthan", 1, "b", test_greater},
    {">=", 1, "b", test_greater_equal},
    {"ge", 1, "b", test_greater_equal},
};

const sg_chat_row *sg_chat_test_row(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strlen(tests[i].name) == bytes && memcmp(tests[i].name, name, bytes) == 0)
            return &tests[i];
    return NULL;
}
