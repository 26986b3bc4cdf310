// A trie over the bytes of the added tokens, its edges in one hash table.
#include "text/added_tokens.h"

#include <string.h>

#include "base/alloc.h"

typedef struct added_edge {
    uint64_t key; // node << 8 | byte, plus one; 0: empty
    uint32_t child;
} added_edge;

struct sg_added_set {
    added_edge *edges;
    size_t mask;
    uint32_t nodes;
    const sg_hf_added **ends; // by node: the token that ends there, or NULL
    bool first[256];          // bytes some token begins with
};

static added_edge *added_find(const sg_added_set *set, uint32_t node, uint8_t byte)
{
    uint64_t key = ((uint64_t)node << 8 | byte) + 1;
    uint64_t mixed = key * 0x9E3779B97F4A7C15ULL;
    size_t at = (size_t)(mixed ^ mixed >> 32) & set->mask;
    while (set->edges[at].key != 0 && set->edges[at].key != key)
        at = (at + 1) & set->mask;
    return &set->edges[at];
}

sg_status sg_added_set_new(const sg_hf_added *const *tokens, const sg_hf_string *contents,
                           size_t count, sg_added_set **set, sg_error *err)
{
    *set = NULL;
    size_t total = 1;
    for (size_t i = 0; i < count; i++)
        total += contents[i].bytes;
    size_t slots = 16;
    while (slots / 2 < total)
        slots *= 2;
    sg_added_set *made = sg_alloc_zero(1, sizeof *made);
    if (made != NULL) {
        made->edges = sg_alloc_zero(slots, sizeof *made->edges);
        made->ends = sg_alloc_zero(total, sizeof *made->ends);
    }
    if (made == NULL || made->edges == NULL || made->ends == NULL || total >= UINT32_MAX) {
        sg_added_set_free(made);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    }
    made->mask = slots - 1;
    made->nodes = 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t node = 0;
        for (size_t b = 0; b < contents[i].bytes; b++) {
            uint8_t byte = (uint8_t)contents[i].text[b];
            added_edge *edge = added_find(made, node, byte);
            if (edge->key == 0)
                *edge = (added_edge){((uint64_t)node << 8 | byte) + 1, made->nodes++};
            node = edge->child;
        }
        // Of two tokens that look alike the first one counts.
        if (made->ends[node] == NULL) made->ends[node] = tokens[i];
        made->first[(uint8_t)contents[i].text[0]] = true;
    }
    *set = made;
    return SG_OK;
}

void sg_added_set_free(sg_added_set *set)
{
    if (set == NULL) return;
    sg_free(set->edges);
    sg_free(set->ends);
    sg_free(set);
}

// The longest token at text[at]; its end goes to *end.
static const sg_hf_added *added_longest(const sg_added_set *set, const char *text, size_t bytes,
                                        size_t at, size_t *end)
{
    const sg_hf_added *best = NULL;
    uint32_t node = 0;
    for (size_t i = at; i < bytes; i++) {
        const added_edge *edge = added_find(set, node, (uint8_t)text[i]);
        if (edge->key == 0) break;
        node = edge->child;
        if (set->ends[node] != NULL) {
            best = set->ends[node];
            *end = i + 1;
        }
    }
    return best;
}

// Where the character before text[at] begins; at > 0.
static size_t added_before(const char *text, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

static bool added_stands_alone(const char *text, size_t bytes, size_t begin, size_t end)
{
    uint32_t code;
    if (begin > 0) {
        sg_utf8_decode_valid(text + added_before(text, begin), &code);
        if (sg_char_is_word(code)) return false;
    }
    if (end == bytes) return true;
    sg_utf8_decode_valid(text + end, &code);
    return !sg_char_is_word(code);
}

// White space before `begin`, but not before `low`.
static size_t added_strip_left(const char *text, size_t low, size_t begin)
{
    while (begin > low) {
        uint32_t code;
        size_t before = added_before(text, begin);
        sg_utf8_decode_valid(text + before, &code);
        if (!sg_char_is_space(code)) break;
        begin = before;
    }
    return begin;
}

static size_t added_strip_right(const char *text, size_t bytes, size_t end)
{
    while (end < bytes) {
        uint32_t code;
        int length = sg_utf8_decode_valid(text + end, &code);
        if (!sg_char_is_space(code)) break;
        end += (size_t)length;
    }
    return end;
}

static bool added_put(sg_added_pieces *out, const sg_hf_added *token, size_t begin, size_t end)
{
    if (!sg_grow((void **)&out->data, &out->capacity, out->count + 1, sizeof *out->data))
        return false;
    out->data[out->count++] = (sg_added_piece){token, begin, end};
    return true;
}

bool sg_added_set_split(const sg_added_set *set, const char *text, size_t bytes, bool skip_special,
                        sg_added_pieces *out)
{
    size_t covered = 0;
    for (size_t at = 0; at < bytes;) {
        size_t end = 0;
        const sg_hf_added *token = NULL;
        if (set->first[(unsigned char)text[at]]) token = added_longest(set, text, bytes, at, &end);
        if (token == NULL) {
            at++;
            continue;
        }
        // A token that is passed over still uses up its text.
        size_t begin = at;
        at = end;
        if (skip_special && token->special) continue;
        if (token->single_word && !added_stands_alone(text, bytes, begin, end)) continue;
        if (token->lstrip)
            begin = added_strip_left(text, covered, begin > covered ? begin : covered);
        // Inside what the token before stripped, the white space is known to reach to `covered`.
        if (token->rstrip) end = end < covered ? covered : added_strip_right(text, bytes, end);
        if (covered < begin && !added_put(out, NULL, covered, begin)) return false;
        if (!added_put(out, token, begin, end)) return false;
        covered = end;
    }
    return covered >= bytes || added_put(out, NULL, covered, bytes);
}
