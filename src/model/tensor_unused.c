#include "model/tensor_unused.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "format/gguf_config.h"
#include "model/config.h"
#include "model/tensor_read.h"
#include "op/op.h"

static bool unused_ends(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static sg_status unused_refuse(const sg_tensors *tensors, const sg_tensor_view *view,
                               const char *expected, sg_error *err)
{
    char shape[192];
    return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s %s: expected %s", tensors->name, view->name,
                   sg_tensor_view_shape_text(view, shape, sizeof shape), expected);
}

// Element i as a number; NaN where it is of a type that no buffer has.
static double unused_value(const sg_tensor_view *view, int64_t i)
{
    const size_t size = sg_dtype_bytes(view->dtype);
    const char *at = (const char *)view->data + (size_t)i * size;
    const int64_t one = 1;
    if (size == 1 && view->dtype < SG_DTYPE_F8_E5M2) return *(const unsigned char *)at;
    const sg_tensor_view element = sg_tensor_view_make(view->name, view->dtype, 1, &one, at);
    float value;
    return sg_tensor_view_read_f32(&element, &value, NULL) == SG_OK ? (double)value : (double)NAN;
}

// ---- buffers ------------------------------------------------------------------------------------

// Frequencies of rotary positions, scaled or not, as they are computed from the configuration. What
// they were rounded to in files shows in the type.
static sg_status unused_frequencies(const sg_config *c, const sg_tensors *tensors,
                                    const sg_tensor_view *view, sg_error *err)
{
    const sg_rope_options scaled = sg_config_rope(c);
    sg_rope_options plain = scaled;
    plain.kind = SG_ROPE_NONE;
    const int64_t pairs = sg_config_rotary_dim(c) / 2;
    const double near = view->dtype == SG_DTYPE_F32    ? 1e-5
                        : view->dtype == SG_DTYPE_BF16 ? 0x1p-8
                                                       : 0x1p-10;
    const double least = view->dtype == SG_DTYPE_F16 ? 0x1p-24 : 0;
    bool fits = view->ndim == 1 && view->shape[0] == pairs, fits_scaled = fits;
    for (int64_t i = 0; i < pairs && (fits || fits_scaled); i++) {
        const double found = unused_value(view, i);
        const double a = sg_rope_frequency(&plain, i), b = sg_rope_frequency(&scaled, i);
        fits = fits && fabs(found - a) <= near * a + least;
        fits_scaled = fits_scaled && fabs(found - b) <= near * b + least;
    }
    if (fits || fits_scaled) return SG_OK;
    return unused_refuse(tensors, view,
                         "the frequencies that the configuration says (rope_theta, head_dim)", err);
}

// (…, n, n): 1 where a token sees another.
static sg_status unused_mask(const sg_tensors *tensors, const sg_tensor_view *view, sg_error *err)
{
    const int64_t n = view->ndim >= 2 ? view->shape[view->ndim - 1] : 0;
    bool fits = n > 0 && sg_tensor_view_elements(view) == n * n;
    for (int64_t i = 0; i < n && fits; i++)
        for (int64_t j = 0; j < n && fits; j++)
            fits = unused_value(view, i * n + j) == (j <= i ? 1 : 0);
    return fits ? SG_OK : unused_refuse(tensors, view, "the mask of causal attention", err);
}

// What masked scores become.
static sg_status unused_masked(const sg_tensors *tensors, const sg_tensor_view *view, sg_error *err)
{
    const bool fits = sg_tensor_view_elements(view) == 1 && unused_value(view, 0) <= -9900;
    return fits ? SG_OK : unused_refuse(tensors, view, "one number of -10000 or less", err);
}

// ---- the classifier -----------------------------------------------------------------------------

static bool unused_is_head(const sg_tensor_map *map, const char *name)
{
    return strcmp(name, sg_tensor_map_head(map)) == 0;
}

enum { unused_chunk = 1 << 14 };

// Whether two matrices of one shape have the same values, whatever their types.
static sg_status unused_same(const sg_tensor_view *a, const sg_tensor_view *b, bool *same,
                             sg_error *err)
{
    *same = false;
    if (a->ndim != b->ndim || memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) != 0)
        return SG_OK;
    *same = a->dtype == b->dtype && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
    if (a->dtype == b->dtype) return SG_OK;
    float *x = sg_alloc_array(2 * unused_chunk, sizeof *x);
    if (x == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", a->name);
    const int64_t n = sg_tensor_view_elements(a);
    *same = true;
    for (int64_t i = 0; i < n && *same; i += unused_chunk) {
        const int64_t some = n - i < unused_chunk ? n - i : unused_chunk;
        const sg_tensor_view *views[] = {a, b};
        for (int k = 0; k < 2 && *same; k++) {
            const char *at =
                (const char *)views[k]->data + (size_t)i * sg_dtype_bytes(views[k]->dtype);
            const sg_tensor_view part =
                sg_tensor_view_make(views[k]->name, views[k]->dtype, 1, &some, at);
            *same = sg_tensor_view_read_f32(&part, x + k * unused_chunk, NULL) == SG_OK;
        }
        *same = *same && memcmp(x, x + unused_chunk, (size_t)some * sizeof *x) == 0;
    }
    sg_free(x);
    return SG_OK;
}

sg_status sg_tensor_tied(const sg_tensor_map *map, const sg_config *config,
                         const sg_tensors *tensors, bool *differs, sg_error *err)
{
    *differs = false;
    if (config->untied_classifier) return SG_OK;
    const sg_tensor_view *head = tensors->find(tensors->file, sg_tensor_map_head(map));
    const sg_tensor_view *table = sg_tensor_map_embedding(map, tensors);
    if (head == NULL || table == NULL) return SG_OK;
    bool same;
    SG_TRY(unused_same(head, table, &same, err));
    *differs = !same;
    return SG_OK;
}

// ---- all ----------------------------------------------------------------------------------------

sg_status sg_tensor_unused(const sg_tensor_map *map, const sg_config *config,
                           const sg_tensors *tensors, const sg_tensor_view *view, sg_error *err)
{
    const char *end = sg_tensor_map_buffer(map, view->name);
    if (end != NULL && unused_ends(end, "inv_freq"))
        return unused_frequencies(config, tensors, view, err);
    if (end != NULL && unused_ends(end, "masked_bias")) return unused_masked(tensors, view, err);
    if (end != NULL) return unused_mask(tensors, view, err);
    // Factors that the configuration holds otherwise (gguf_rope.h).
    if (map->is_gguf && strcmp(view->name, SG_GGUF_ROPE_FREQS) == 0 &&
        strcmp(config->rope_scaling, "llama3") == 0)
        return SG_OK;
    // It has been found the same (sg_tensor_tied), or the configuration would not say so.
    if (!config->untied_classifier && unused_is_head(map, view->name)) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s is not part of this model", tensors->name,
                   view->name);
}

sg_status sg_tensors_plain(const sg_tensors *tensors, sg_error *err)
{
    static const char *const ends[][2] = {{".qweight", "GPTQ or AWQ"},
                                          {".qzeros", "GPTQ or AWQ"},
                                          {".g_idx", "GPTQ"},
                                          {".quant_map", "bitsandbytes"},
                                          {".absmax", "bitsandbytes"},
                                          {".quant_state.bitsandbytes__nf4", "bitsandbytes"},
                                          {".quant_state.bitsandbytes__fp4", "bitsandbytes"},
                                          {".SCB", "bitsandbytes"},
                                          {".weight_packed", "compressed-tensors"},
                                          {".weight_scale_inv", "8-bit floats (FP8)"},
                                          {".weight_scale", "8-bit floats (FP8) or integers"}};
    for (size_t i = 0; i < tensors->count(tensors->file); i++) {
        const sg_tensor_view *view = tensors->at(tensors->file, i);
        const char *by = NULL;
        if (view->dtype == SG_DTYPE_F8_E4M3 || view->dtype == SG_DTYPE_F8_E5M2)
            by = "8-bit floats (FP8)";
        for (size_t e = 0; e < sizeof ends / sizeof *ends && by == NULL; e++)
            if (unused_ends(view->name, ends[e][0])) by = ends[e][1];
        if (by != NULL)
            return sg_fail(
                err, SG_ERR_UNSUPPORTED,
                "%s: tensor %s: found weights quantised by %s, expected plain ones (f32, "
                "f16, bf16), or a GGUF file",
                tensors->name, view->name, by);
    }
    return SG_OK;
}
