// UTF-8, character classes, the byte alphabet and normalisation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "text/normalize.h"
#include "text/unicode.h"

// Every code point survives encoding and decoding; what is not a scalar value does not decode.
static void test_utf8_round_trip(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char text[4];
        uint32_t back = 0;
        int length = sg_utf8_encode(code, text);
        int found = sg_utf8_decode(text, (size_t)length, &back);
        if (code >= 0xD800 && code < 0xE000) {
            assert_int_equal(found, 0);
            continue;
        }
        assert_int_equal(found, length);
        assert_int_equal(back, code);
        for (int cut = 1; cut < length; cut++)
            assert_int_equal(sg_utf8_decode(text, (size_t)cut, &back), 0);
    }
}

static void check_repair(const char *text, size_t bytes, const char *expected)
{
    sg_bytes out = {0};
    assert_true(sg_utf8_repair(text, bytes, &out, NULL));
    assert_int_equal(out.count, strlen(expected));
    assert_memory_equal(out.data, expected, out.count);
    sg_free(out.data);
}

#define R "\xEF\xBF\xBD"

// Unicode 15, section 3.9, tables 3-8 to 3-11, and what Python's "replace" makes of some more.
static void test_repair(void **state)
{
    (void)state;
    check_repair("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9, R R R R R R R R "A");
    check_repair("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9, R R R R R R R R "A");
    check_repair("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9, R R R R R "A" R R "B");
    check_repair("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, R R R R "A");
    check_repair("\xF0\x9F\x98", 3, R);
    check_repair("a\xE2\x82", 3, "a" R);
    check_repair("", 0, "");
}

static void test_classes(void **state)
{
    (void)state;
    static const uint32_t spaces[] = {9,      10,     11,     12,     13,     0x20,   0x85,
                                      0xA0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                      0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028,
                                      0x2029, 0x202F, 0x205F, 0x3000};
    size_t counts[4] = {0};
    for (uint32_t code = 0; code < 0x110000; code++)
        if (code < 0xD800 || code >= 0xE000) counts[sg_char_class(code)]++;
    // Unicode 16 as the regex engine of tokenizers 0.22.2 knows it.
    assert_int_equal(counts[SG_CLASS_LETTER], 141028);
    assert_int_equal(counts[SG_CLASS_NUMBER], 1911);
    assert_int_equal(counts[SG_CLASS_SPACE], 25);
    for (size_t i = 0; i < 25; i++)
        assert_int_equal(sg_char_class(spaces[i]), SG_CLASS_SPACE);
    assert_int_equal(sg_char_class('a'), SG_CLASS_LETTER);
    assert_int_equal(sg_char_class(0xBD), SG_CLASS_NUMBER);
    assert_int_equal(sg_char_class(0x301), SG_CLASS_OTHER);
    assert_int_equal(sg_char_class(0x180E), SG_CLASS_OTHER);
    assert_int_equal(sg_char_class(0x110000), SG_CLASS_OTHER);
    for (char c = 'a'; c <= 'z'; c++)
        assert_true(sg_char_is_word((uint32_t)c));
    assert_true(sg_char_is_word('_'));
    assert_true(sg_char_is_word(0x301));
    assert_false(sg_char_is_word('-'));
    assert_true(sg_char_is_numeric(0x2160));
    assert_false(sg_char_is_numeric('a'));
}

static void check_lower(uint32_t code, uint32_t first, uint32_t second)
{
    uint32_t out[2] = {0, 0};
    assert_int_equal(sg_char_lower(code, out), second == 0 ? 1 : 2);
    assert_int_equal(out[0], first);
    if (second != 0) assert_int_equal(out[1], second);
}

static void test_lower(void **state)
{
    (void)state;
    check_lower('A', 'a', 0);
    check_lower('[', '[', 0);
    check_lower(0xC4, 0xE4, 0);
    check_lower(0xD7, 0xD7, 0); // the multiplication sign inside a range of letters
    check_lower(0x130, 'i', 0x307);
    check_lower(0x100, 0x101, 0);
    check_lower(0x101, 0x101, 0);
    check_lower(0x3A3, 0x3C3, 0); // never the final sigma
    check_lower(0x1E9E, 0xDF, 0);
    check_lower(0x10400, 0x10428, 0);
    check_lower(0x10FFFF, 0x10FFFF, 0);
}

static void test_byte_alphabet(void **state)
{
    (void)state;
    bool seen[0x144] = {false};
    char all[256];
    for (int byte = 0; byte < 256; byte++) {
        uint32_t code = sg_byte_to_char((uint8_t)byte);
        assert_true(code < 0x144 && !seen[code]);
        seen[code] = true;
        assert_int_equal(sg_char_to_byte(code), byte);
        all[byte] = (char)byte;
    }
    assert_int_equal(sg_byte_to_char(' '), 0x120);
    assert_int_equal(sg_byte_to_char('\n'), 0x10A);
    assert_int_equal(sg_char_to_byte(' '), -1);
    assert_int_equal(sg_char_to_byte(0x144), -1);
    sg_bytes spelled = {0}, back = {0};
    bool whole;
    assert_true(sg_bytes_spell(all, 256, &spelled));
    assert_true(sg_bytes_unspell(spelled.data, spelled.count, &back, &whole));
    assert_true(whole);
    assert_int_equal(back.count, 256);
    assert_memory_equal(back.data, all, 256);
    assert_true(sg_bytes_unspell("ab c", 4, &back, &whole));
    assert_false(whole);
    assert_int_equal(back.count, 256);
    sg_free(spelled.data);
    sg_free(back.data);
}

static void check_form(sg_normal_form form, const char *text, const char *expected)
{
    sg_bytes out = {0};
    assert_true(sg_normalize(form, text, strlen(text), &out));
    assert_int_equal(out.count, strlen(expected));
    assert_memory_equal(out.data, expected, out.count);
    sg_free(out.data);
}

static void test_normal_forms(void **state)
{
    (void)state;
    check_form(SG_FORM_NFC, "e\u0301 x", "\u00e9 x");
    check_form(SG_FORM_NFD, "\u00e9 x", "e\u0301 x");
    check_form(SG_FORM_NFC, "\u212b\u2126", "\u00c5\u03a9");
    check_form(SG_FORM_NFKC, "\ufb01\u00a0\u2460", "fi 1");
    check_form(SG_FORM_NFKD, "\uff76\uff9e", "\u30ab\u3099");
    check_form(SG_FORM_NFKC, "\uff76\uff9e", "\u30ac");
    check_form(SG_FORM_NFC, "a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"); // UAX 15
    check_form(SG_FORM_NFC, "\u1112\u1161\u11ab", "\ud55c");
    check_form(SG_FORM_NFD, "\ud55c", "\u1112\u1161\u11ab");
    check_form(SG_FORM_NFC, "\ud558\u11ab", "\ud55c");
    check_form(SG_FORM_NFC, "\u0958", "\u0915\u093c"); // a composition exclusion
    check_form(SG_FORM_NFC, "\u09c7\u09be", "\u09cb"); // joined by a starter
    check_form(SG_FORM_NFC, "\u0344", "\u0308\u0301"); // decomposes into marks
    check_form(SG_FORM_NFKC, "\u32ff", "\u32ff");      // too new for the library
    check_form(SG_FORM_NFC, "\U00011935\U00011930", "\U00011935\U00011930"); // likewise
    check_form(SG_FORM_NFKC, "", "");
    assert_true(sg_is_plainly_normal(SG_FORM_NFKC, "plain text, long enough", 23));
    assert_false(sg_is_plainly_normal(SG_FORM_NFKC, "plain text, long \u00a0", 19));
}

// Appends a random character that normalisation finds interesting.
static void add_random(sg_rng *rng, sg_bytes *text)
{
    static const uint32_t starts[] = {0x41,   0xC0,   0x300, 0x1E00, 0x1100, 0x1161,
                                      0x11A8, 0xAC00, 0x900, 0xFB00, 0xFF60, 0x1D15E};
    uint32_t code = starts[sg_rng_next_below(rng, 12)] + (uint32_t)sg_rng_next_below(rng, 48);
    char piece[4];
    assert_true(sg_bytes_add(text, piece, (size_t)sg_utf8_encode(code, piece)));
}

// UAX 15: every form is idempotent, and NFC(NFD(x)) = NFC(x), NFKC(NFD(x)) = NFKC(x).
static void test_identities(void **state)
{
    (void)state;
    sg_rng rng = {5, 5, 0};
    for (int round = 0; round < 3000; round++) {
        sg_bytes text = {0}, once = {0}, twice = {0}, apart = {0}, direct = {0};
        uint64_t length = 1 + sg_rng_next_below(&rng, round % 100 == 0 ? 200 : 8);
        while (length-- > 0)
            add_random(&rng, &text);
        sg_normal_form form = (sg_normal_form)(round % 4);
        assert_true(sg_normalize(form, text.data, text.count, &once));
        assert_true(sg_normalize(form, once.data, once.count, &twice));
        assert_int_equal(once.count, twice.count);
        assert_memory_equal(once.data, twice.data, once.count);
        sg_normal_form composed = round % 2 == 0 ? SG_FORM_NFC : SG_FORM_NFKC;
        twice.count = 0;
        assert_true(sg_normalize(SG_FORM_NFD, text.data, text.count, &apart));
        assert_true(sg_normalize(composed, apart.data, apart.count, &twice));
        assert_true(sg_normalize(composed, text.data, text.count, &direct));
        assert_int_equal(twice.count, direct.count);
        assert_memory_equal(twice.data, direct.data, direct.count);
        if (sg_is_plainly_normal(form, text.data, text.count)) {
            assert_int_equal(once.count, text.count);
            assert_memory_equal(once.data, text.data, text.count);
        }
        sg_free(text.data);
        sg_free(once.data);
        sg_free(twice.data);
        sg_free(apart.data);
        sg_free(direct.data);
    }
}

// A million combining marks in the wrong order take no quadratic time.
static void test_many_marks(void **state)
{
    (void)state;
    sg_bytes text = {0}, out = {0};
    assert_true(sg_bytes_add(&text, "a", 1));
    for (int i = 0; i < 1000000; i++)
        assert_true(sg_bytes_add(&text, i % 2 == 0 ? "\u0301" : "\u0323", 2));
    assert_true(sg_normalize(SG_FORM_NFD, text.data, text.count, &out));
    assert_int_equal(out.count, text.count);
    assert_memory_equal(out.data, "a\u0323\u0323", 5);
    sg_free(text.data);
    sg_free(out.data);
}

static size_t allocations_left;

static bool fail_when_spent(void *user, size_t bytes)
{
    (void)user;
    (void)bytes;
    return allocations_left-- > 0;
}

static void test_no_memory(void **state)
{
    (void)state;
    sg_bytes text = {0};
    for (int i = 0; i < 60; i++)
        assert_true(sg_bytes_add(&text, "\u0301\u0323 e\u0301", 8));
    int64_t live = sg_alloc_live();
    bool done = false;
    for (size_t n = 0; !done; n++) {
        sg_bytes out = {0};
        allocations_left = n;
        sg_alloc_set_hook(fail_when_spent, NULL);
        done = sg_normalize(SG_FORM_NFC, text.data, text.count, &out);
        sg_alloc_set_hook(NULL, NULL);
        sg_free(out.data);
        assert_int_equal(sg_alloc_live(), live);
        assert_true(n < 1000);
    }
    sg_free(text.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_round_trip), cmocka_unit_test(test_repair),
        cmocka_unit_test(test_classes),         cmocka_unit_test(test_lower),
        cmocka_unit_test(test_byte_alphabet),   cmocka_unit_test(test_normal_forms),
        cmocka_unit_test(test_identities),      cmocka_unit_test(test_many_marks),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
