// The factors are not a second formula: they are frequencies of op/op.h without scaling over those
// with.
#include "model/gguf_rope.h"

#include <math.h>
#include <string.h>

#include "format/gguf_config.h"
#include "model/config.h"

static const double rope_tolerance = 1e-4;

static bool rope_is_llama3(const sg_config *c)
{
    return strcmp(c->rope_scaling, "llama3") == 0;
}

static double rope_factor(const sg_config *c, int64_t pair)
{
    const sg_rope_options scaled = sg_config_rope(c);
    sg_rope_options plain = scaled;
    plain.kind = SG_ROPE_NONE;
    return sg_rope_frequency(&plain, pair) / sg_rope_frequency(&scaled, pair);
}

sg_status sg_gguf_rope_check(const sg_gguf *file, const sg_config *c, sg_error *err)
{
    const sg_tensor_view *view = sg_gguf_find(file, SG_GGUF_ROPE_FREQS);
    if (view == NULL || !rope_is_llama3(c)) return SG_OK;
    for (int64_t i = 0; i < view->shape[0]; i++) {
        const double expected = rope_factor(c, i);
        float found;
        memcpy(&found, (const char *)view->data + (size_t)i * sizeof found, sizeof found);
        if (!(fabs((double)found - expected) <= rope_tolerance * expected))
            return sg_fail(err, SG_ERR_UNSUPPORTED,
                           "%s: tensor %s: factor %lld: found %.7g, expected %.7g, as Llama 3 "
                           "scales by %g from %lld positions",
                           sg_gguf_name(file), SG_GGUF_ROPE_FREQS, (long long)i, (double)found,
                           expected, c->rope_factor, (long long)c->rope_original_positions);
    }
    return SG_OK;
}

// The lowest frequency is the last.
sg_status sg_gguf_rope_factors(const sg_config *c, float *factors, sg_error *err)
{
    const int64_t pairs = sg_config_rotary_dim(c) / 2;
    for (int64_t i = 0; i < pairs; i++)
        factors[i] = (float)rope_factor(c, i);
    if (factors[pairs - 1] == (float)c->rope_factor) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "rope_factor: found %s, which scales no frequency by all of it: GGUF could not "
                   "say it",
                   SG_NUMBER(c->rope_factor));
}
