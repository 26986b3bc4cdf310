// What a model says to tokens, and how far two such answers are apart.
#ifndef SG_TESTS_LOGITS_H
#define SG_TESTS_LOGITS_H

#include <math.h>
#include <string.h>

#include "sgatlin.h"

// Logits behind each `at_once` of `count` tokens, which are fed together: (count / at_once, vocab).
static void logits_of(sg_model *m, const int32_t *tokens, int count, int at_once, float *out)
{
    const size_t vocab_size = (size_t)sg_model_config(m)->vocab_size;
    sg_error err = {0};
    sg_session *s;
    const float *logits;
    if (sg_session_new(m, 0, &s, &err) != SG_OK) fail_msg("%s", err.message);
    for (int i = 0; i < count; i += at_once) {
        if (sg_session_feed(s, tokens + i, at_once, &logits, &err) != SG_OK)
            fail_msg("%s", err.message);
        memcpy(out + (size_t)(i / at_once) * vocab_size, logits, vocab_size * sizeof *out);
    }
    sg_session_free(s);
}

static double furthest(const float *a, const float *b, int count)
{
    double most = 0;
    for (int i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

#endif
