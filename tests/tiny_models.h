// A tiny configuration of every feed-forward family, as it comes and with its switches set, for
// tests that must hold for all of them. A new row of the table of families is here by itself.
#ifndef SG_TESTS_TINY_MODELS_H
#define SG_TESTS_TINY_MODELS_H

#include "sgatlin.h"

// "FAMILY [FIELD=VALUE …]": every family of the table, then variants; NULL behind the last.
const char *tiny_kind(int index);
// The next one, from *index on, whose tokens all read as many blocks.
const char *tiny_even_kind(int *index);
// Not yet complete: it has all sizes of all families. vocab tokens, `positions` longest. Fails the
// test when a field does not exist.
sg_config tiny_config(const char *kind, int64_t vocab, int64_t positions);
// Narrow, with so many keys that sessions screen them (sg_model_set_key_copies). router:
// "product_dense", "product_key_value".
sg_config tiny_keyed_config(const char *router, int64_t vocab, int64_t positions);

#endif
