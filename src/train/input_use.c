// What is read is counted as decoding reads it: with a threshold of 0 everything; else |x n| above
// it, behind activations what is not 0, since zeros are not read either.
#include "train/input_use.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "op/op.h"
#include "op/trim.h"

const char *sg_input_point(sg_trimmed place)
{
    static const char *const points[] = {"ln1.hook_normalized", "attn.hook_z",
                                         "ln2.hook_normalized", "mlp.hook_post"};
    return points[place];
}

static sg_status use_norms(const sg_model *m, int64_t layer, sg_trimmed place,
                           const sg_real **norms, sg_error *err)
{
    char name[SG_PARAM_NAME];
    size_t index;
    snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, sg_trimmed_norms(place));
    SG_TRY(sg_model_tensor_find(m, name, &index, err));
    *norms = m->values[index]; // of one dimension, which stays as it is
    return *norms != NULL ? SG_OK : sg_fail(err, SG_ERR_INTERNAL, "%s: found no values", name);
}

static sg_status use_seen(const sg_config *c, sg_trimmed place, sg_input_count *count,
                          sg_error *err)
{
    count->seen = sg_alloc_zero((size_t)sg_trimmed_width(c, place), sizeof *count->seen);
    return count->seen != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a count");
}

sg_status sg_input_use_new(const sg_model *m, bool passes, sg_input_use *use, sg_error *err)
{
    const sg_config *c = &m->config;
    *use = (sg_input_use){.config = c, .on = true};
    use->counts =
        sg_alloc_zero((size_t)c->num_hidden_layers, SG_TRIMMED_PLACES * sizeof *use->counts);
    if (use->counts == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a count");
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        for (int place = 0; place < SG_TRIMMED_PLACES; place++) {
            sg_input_count *count = &use->counts[l * SG_TRIMMED_PLACES + place];
            if (!sg_trimmed_has(c, (sg_trimmed)place)) continue;
            count->threshold = sg_trimmed_threshold(c, (sg_trimmed)place, l);
            if (c->trim_scaled) SG_TRY(use_norms(m, l, (sg_trimmed)place, &count->norms, err));
            if (passes) SG_TRY(use_seen(c, (sg_trimmed)place, count, err));
        }
    return SG_OK;
}

void sg_input_use_free(sg_input_use *use)
{
    const int64_t layers = use->counts != NULL ? use->config->num_hidden_layers : 0;
    for (int64_t i = 0; i < layers * SG_TRIMMED_PLACES; i++)
        sg_free(use->counts[i].seen);
    sg_free(use->counts);
    *use = (sg_input_use){0};
}

// ---- counting -----------------------------------------------------------------------------------

static sg_status use_see(void *user, const sg_point_values *p, sg_error *err)
{
    const sg_input_watch *watch = user;
    int64_t n = 1;
    (void)err;
    for (int k = 1; k < p->rank; k++)
        n *= p->shape[k];
    if (watch->use->on)
        sg_input_use_add(watch->use, p->layer, watch->place, p->values, p->shape[0], n);
    return SG_OK;
}

size_t sg_input_use_requests(sg_input_use *use, sg_point_request requests[SG_TRIMMED_PLACES])
{
    size_t count = 0;
    for (int i = 0; i < SG_TRIMMED_PLACES; i++) {
        const sg_trimmed place = (sg_trimmed)i;
        sg_input_watch *watch = &use->watches[count];
        if (!sg_trimmed_has(use->config, place)) continue;
        *watch = (sg_input_watch){.use = use, .place = place};
        snprintf(watch->name, sizeof watch->name, "blocks.*.%s", sg_input_point(place));
        requests[count++] = (sg_point_request){
            .name = watch->name, .use = SG_POINT_READ, .call = use_see, .user = watch};
    }
    return count;
}

// Whether x, number i of a row, is read.
static bool use_reads(const sg_input_count *count, bool post, sg_real x, int64_t i)
{
    if (count->threshold == 0) return true;
    if (post) return x != 0;
    return !sg_trim_takes(count->norms ? x * count->norms[i] : x, count->threshold);
}

// x (n) of a row. Returns how many of them are read.
static int64_t use_row(sg_input_count *count, bool post, const float *x, int64_t n)
{
    int64_t read = 0;
    for (int64_t i = 0; i < n; i++) {
        const bool reads = use_reads(count, post, (sg_real)x[i], i);
        read += reads;
        if (count->seen != NULL && reads) count->seen[i] = 1;
    }
    return read;
}

void sg_input_use_add(sg_input_use *use, int64_t layer, sg_trimmed place, const float *values,
                      int64_t rows, int64_t n)
{
    sg_input_count *count = &use->counts[layer * SG_TRIMMED_PLACES + place];
    for (int64_t r = 0; r < rows; r++)
        count->read += (double)use_row(count, place == SG_TRIMMED_FFN_DOWN, values + r * n, n);
    count->all += (double)(rows * n);
}

void sg_input_use_pass(sg_input_use *use)
{
    if (!use->on) return;
    for (int64_t i = 0; i < use->config->num_hidden_layers * SG_TRIMMED_PLACES; i++) {
        sg_input_count *count = &use->counts[i];
        const int64_t n = sg_trimmed_width(use->config, (sg_trimmed)(i % SG_TRIMMED_PLACES));
        if (count->seen == NULL) continue;
        for (int64_t j = 0; j < n; j++)
            count->together += count->seen[j];
        memset(count->seen, 0, (size_t)n);
    }
    use->passes++;
}

// ---- shares -------------------------------------------------------------------------------------

typedef double (*use_share_fn)(const sg_input_use *use, int64_t layer, sg_trimmed place);

double sg_input_use_share(const sg_input_use *use, int64_t layer, sg_trimmed place)
{
    const sg_input_count *count = &use->counts[layer * SG_TRIMMED_PLACES + place];
    return count->all > 0 ? count->read / count->all : 1;
}

static double use_pass_share(const sg_input_use *use, int64_t layer, sg_trimmed place)
{
    const sg_input_count *count = &use->counts[layer * SG_TRIMMED_PLACES + place];
    if (count->seen == NULL || use->passes == 0) return 1;
    return count->together / (double)use->passes / (double)sg_trimmed_width(use->config, place);
}

double sg_input_flops(const sg_config *c, sg_trimmed place)
{
    const double d = (double)c->hidden_size, F = (double)c->ffn_intermediate_size;
    const double width = (double)(c->num_attention_heads * c->head_dim);
    const double kv = (double)(sg_config_kv_heads(c) * c->head_dim);
    switch (place) {
    case SG_TRIMMED_ATTENTION:
        return 2 * d * (width + 2 * kv);
    case SG_TRIMMED_ATTENTION_OUT:
        return 2 * d * width;
    case SG_TRIMMED_FFN:
        return 2 * d * F * (sg_ffn_is_gated(c) ? 2 : 1);
    default:
        return 2 * d * F;
    }
}

// All layers have the same sizes.
static double use_place(const sg_input_use *use, sg_trimmed place, use_share_fn share)
{
    const int64_t layers = use->config->num_hidden_layers;
    double sum = 0;
    for (int64_t l = 0; l < layers; l++)
        sum += share(use, l, place);
    return sum / (double)layers;
}

double sg_input_use_place(const sg_input_use *use, sg_trimmed place)
{
    return use_place(use, place, sg_input_use_share);
}

static double use_flops(const sg_input_use *use, int first, use_share_fn share)
{
    double read = 0, all = 0;
    for (int place = first; place < SG_TRIMMED_PLACES; place++) {
        const double flops = sg_input_flops(use->config, (sg_trimmed)place);
        read += flops * use_place(use, (sg_trimmed)place, share);
        all += flops;
    }
    return read / all;
}

double sg_input_use_ffn(const sg_input_use *use)
{
    return use_flops(use, SG_TRIMMED_FFN, sg_input_use_share);
}

double sg_input_use_all(const sg_input_use *use)
{
    return use_flops(use, 0, sg_input_use_share);
}

double sg_input_use_together(const sg_input_use *use)
{
    return use_flops(use, 0, use_pass_share);
}

// ---- bytes --------------------------------------------------------------------------------------

typedef struct use_unread {
    const sg_input_use *use;
    const sg_model *model;
    double bytes;
} use_unread;

// A layer whose threshold is 0 reads its matrix whole.
static void unread_add(void *user, int64_t layer, sg_trimmed place, size_t index)
{
    use_unread *u = user;
    if (u->use->counts[layer * SG_TRIMMED_PLACES + place].threshold == 0) return;
    u->bytes += sg_model_columns_unread(u->model, index, use_pass_share(u->use, layer, place));
}

sg_status sg_input_use_unread(const sg_input_use *use, const sg_model *m, int64_t rows,
                              double *bytes, sg_error *err)
{
    use_unread u = {.use = use, .model = m};
    *bytes = 0;
    if (rows > SG_SPARSE_ROWS) return SG_OK;
    SG_TRY(sg_model_columns_each(m, unread_add, &u, err));
    *bytes = u.bytes;
    return SG_OK;
}
