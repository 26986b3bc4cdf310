// Options of sg_sparsify: methods by name, checks, and the configuration that they make of that of
// the dense model.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "sparsify/moefy.h"
#include "sparsify/partition.h"

enum { moefy_norm_width = 128 }; // D2DMoE's routers of GPT-2, BERT and ViT

sg_sparsify_options sg_sparsify_options_default(void)
{
    return (sg_sparsify_options){.split = "kmeans",
                                 .router = "centroid",
                                 .unread = "nothing",
                                 .select = "top_k",
                                 .block_size = 32,
                                 .active = 0.25,
                                 .router_epochs = 30,
                                 .projection_layers = "all",
                                 .projection_size = 1,
                                 .projection_steps = 1000,
                                 .projection_batch = 512,
                                 .projection_rate = 1e-3,
                                 .projection_sparsity = 1e-3,
                                 .calibration_tokens = 16384,
                                 .router_tokens = 32768,
                                 .test_tokens = 8192,
                                 .memory = INT64_C(1) << 30};
}

// ---- methods ------------------------------------------------------------------------------------

static void method_similarity(sg_sparsify_options *o)
{
    (void)o;
}

static void method_moefication(sg_sparsify_options *o)
{
    o->router = "mlp";
    o->active = 0.2;
}

static void method_gmoefication(sg_sparsify_options *o)
{
    o->router = "mlp";
    o->target = "deviation";
    o->unread = "mean";
}

static void method_dsti(sg_sparsify_options *o)
{
    o->router = "norm";
    o->select = "max";
    o->threshold = 0.1;
    o->active = 1;
    o->block_size = 4;
}

static void method_cmoe(sg_sparsify_options *o)
{
    o->split = "shared";
    o->router = "representative";
    o->blocks = 16;
    o->shared_blocks = 2;
    o->active = 0.375;
}

static void method_cats(sg_sparsify_options *o)
{
    o->trim = "cats";
    o->active = 0.5;
}

static void method_attention_mlp(sg_sparsify_options *o)
{
    o->projections = "q,k,v,o";
}

static void method_teal(sg_sparsify_options *o)
{
    o->trim = "teal";
    o->active = 0.6;
}

static void method_wina(sg_sparsify_options *o)
{
    o->trim = "wina";
    o->active = 0.6;
}

static const struct {
    const char *name;
    void (*set)(sg_sparsify_options *options);
} methods[] = {{"similarity", method_similarity},
               {"moefication", method_moefication},
               {"gmoefication", method_gmoefication},
               {"dsti", method_dsti},
               {"cmoe", method_cmoe},
               {"cats", method_cats},
               {"teal", method_teal},
               {"wina", method_wina},
               {"attention-mlp", method_attention_mlp}};

const char *sg_sparsify_method(size_t index)
{
    return index < sizeof methods / sizeof *methods ? methods[index].name : NULL;
}

sg_status sg_sparsify_options_of(const char *method, sg_sparsify_options *options, sg_error *err)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(methods[i].name, method) != 0) continue;
        *options = sg_sparsify_options_default();
        methods[i].set(options);
        return SG_OK;
    }
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "method: found \"%.40s\", expected similarity, moefication, gmoefication, dsti, "
                   "cmoe, cats, teal, wina or attention-mlp",
                   method);
}

// ---- what options need --------------------------------------------------------------------------

const char *sg_sparsify_target(const sg_sparsify_options *o)
{
    const bool norm = sg_moefy_is(o->router, "norm");
    if (!norm && !sg_moefy_is(o->router, "mlp") && !sg_moefy_is(o->router, "sigmoid")) return NULL;
    return o->target != NULL ? o->target : norm ? "norm" : "positive";
}

bool sg_moefy_trains(const sg_sparsify_options *o)
{
    return sg_sparsify_target(o) != NULL && o->router_epochs > 0;
}

// Whether a router's targets are taken from the mean.
bool sg_moefy_centres(const sg_sparsify_options *o)
{
    const char *target = sg_sparsify_target(o);
    return target != NULL && (sg_moefy_is(target, "deviation") || sg_moefy_is(target, "absolute"));
}

bool sg_moefy_calibrates(const sg_sparsify_options *o)
{
    return sg_moefy_is(o->split, "coactivation") || sg_moefy_is(o->split, "shared") ||
           sg_moefy_is(o->unread, "mean") || sg_moefy_centres(o);
}

// Thresholds and MLPs of projections are made of the calibration part.
void sg_moefy_tokens(const sg_sparsify_options *o, int64_t tokens[3])
{
    const bool text = o->text != NULL || o->data != NULL;
    const bool blocks = o->projections == NULL && o->trim == NULL;
    tokens[0] = text && (!blocks || sg_moefy_calibrates(o)) ? o->calibration_tokens : 0;
    tokens[1] = text && blocks && sg_moefy_trains(o) ? o->router_tokens : 0;
    tokens[2] = text ? o->test_tokens : 0;
}

sg_status sg_moefy_text(const sg_model *dense, const sg_sparsify_options *o, sg_calibration *text,
                        sg_sparsify_result *result, sg_error *err)
{
    const bool blocks = o->projections == NULL && o->trim == NULL;
    sg_calibration_source source = {.text = o->text,
                                    .text_bytes = o->text_bytes,
                                    .tokenizer = o->tokenizer,
                                    .data = o->data,
                                    .context = o->context};
    sg_moefy_tokens(o, source.tokens);
    SG_TRY(sg_calibration_new(dense, &source, text, err));
    if (blocks && text->tokens > 0 && sg_moefy_calibrates(o) && o->calibration_tokens == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "calibration_tokens: found 0, expected more");
    if (blocks && text->tokens > 0 && sg_moefy_trains(o) && o->router_tokens == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "router_tokens: found 0, expected more");
    result->lost_bytes = text->lost_bytes;
    result->replaced = text->replaced;
    return SG_OK;
}

// ---- checks -------------------------------------------------------------------------------------

// `value` is one of the words of a list "a, b or c".
static sg_status moefy_word(const char *name, const char *value, const char *const *words,
                            const char *list, sg_error *err)
{
    for (; *words != NULL; words++)
        if (sg_moefy_is(value, *words)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected %s", name, value, list);
}

static sg_status moefy_words(const sg_sparsify_options *o, sg_error *err)
{
    static const char *const splits[] = {"random",       "kmeans", "auction",
                                         "coactivation", "shared", NULL};
    static const char *const routers[] = {"centroid", "random", "representative", "mlp", "norm",
                                          "sigmoid",  NULL};
    static const char *const targets[] = {"positive", "deviation", "absolute", "norm", NULL};
    static const char *const selects[] = {"top_k", "max", "share", "threshold", NULL};
    static const char *const unread[] = {"nothing", "mean", NULL};
    SG_TRY(moefy_word("split", o->split, splits, "random, kmeans, auction, coactivation or shared",
                      err));
    SG_TRY(moefy_word("router", o->router, routers,
                      "centroid, random, representative, mlp, norm or sigmoid", err));
    if (o->target != NULL)
        SG_TRY(
            moefy_word("target", o->target, targets, "positive, deviation, absolute or norm", err));
    SG_TRY(moefy_word("select", o->select, selects, "top_k, max, share or threshold", err));
    return moefy_word("unread", o->unread, unread, "nothing or mean", err);
}

// Options that only mean something beside others.
static sg_status moefy_company(const sg_config *dense, const sg_sparsify_options *o, sg_error *err)
{
    const bool shared = sg_moefy_is(o->split, "shared");
    const bool representative = sg_moefy_is(o->router, "representative");
    if (o->shared_blocks != 0 && !shared)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "shared_blocks: found %lld, expected 0 where split is %s",
                       (long long)o->shared_blocks, o->split);
    if (shared && o->shared_blocks > 0 && !sg_moefy_is(dense->ffn, "glu"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "shared_blocks: found %lld, expected 0 for layers that are not gated",
                       (long long)o->shared_blocks);
    if (representative && !shared)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found representative, expected split shared beside it, not %s, "
                       "which chooses no neurons that stand for blocks",
                       o->split);
    if (o->target != NULL && !sg_moefy_trains(o))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "target: found %s, expected none for router %s, which is not trained",
                       o->target, o->router);
    if (o->router_size != 0 && !sg_moefy_is(o->router, "mlp") && !sg_moefy_is(o->router, "norm"))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router_size: found %lld, expected 0 for router %s, which has no hidden "
                       "layer",
                       (long long)o->router_size, o->router);
    return SG_OK;
}

static sg_status moefy_numbers(const sg_sparsify_options *o, sg_error *err)
{
    if (!(o->active > 0 && o->active <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "active: found %s, expected more than 0 and at most 1",
                       SG_NUMBER(o->active));
    if (o->router_size < 0 || o->router_epochs < 0 || !(o->router_rate >= 0))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found size %lld, %lld epochs and a rate of %s, expected 0 or more",
                       (long long)o->router_size, (long long)o->router_epochs,
                       SG_NUMBER(o->router_rate));
    return SG_OK;
}

// A text is there where it is needed.
static sg_status moefy_text(const sg_sparsify_options *o, sg_error *err)
{
    const bool router = sg_moefy_trains(o), mean = sg_moefy_is(o->unread, "mean");
    if (o->text != NULL || o->data != NULL || (!router && !sg_moefy_calibrates(o))) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found %s, which is learned from a text, expected a text or packed data",
                   router ? "router"
                   : mean ? "unread"
                          : "split",
                   router ? o->router
                   : mean ? o->unread
                          : o->split);
}

// ---- the configuration --------------------------------------------------------------------------

static sg_status moefy_size(const sg_config *dense, const sg_sparsify_options *o, int64_t *size,
                            sg_error *err)
{
    const int64_t F = dense->ffn_intermediate_size;
    *size = o->block_size;
    if (o->blocks < 0 || o->blocks > F || (o->blocks > 0 && F % o->blocks != 0))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "blocks: found %lld, expected a divisor of the %lld neurons of a layer",
                       (long long)o->blocks, (long long)F);
    if (o->blocks > 0) *size = F / o->blocks;
    return sg_partition_fits(F, *size, err);
}

// Blocks that a router chooses from, and how many it takes.
static sg_status moefy_counts(const sg_config *dense, const sg_sparsify_options *o, sg_config *c,
                              sg_error *err)
{
    const int64_t E = dense->ffn_intermediate_size / c->ffn_block_size, shared = o->shared_blocks;
    const int64_t k = llround(o->active * (double)E) - shared;
    if (shared < 0 || shared >= E)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "shared_blocks: found %lld, expected 0 … %lld, so that one of the %lld is "
                       "left",
                       (long long)shared, (long long)E - 1, (long long)E);
    if (shared > 0 && k < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "active: found %s of %lld blocks, expected more than the %lld shared ones",
                       SG_NUMBER(o->active), (long long)E, (long long)shared);
    c->ffn_top_k = k > 0 ? k : 1;
    c->ffn_intermediate_size = (E - shared) * c->ffn_block_size;
    c->ffn_shared_experts = shared > 0;
    c->ffn_shared_size = shared * c->ffn_block_size;
    return SG_OK;
}

sg_status sg_moefy_config(const sg_config *dense, const sg_sparsify_options *o, sg_config *c,
                          sg_error *err)
{
    *c = *dense;
    SG_TRY(moefy_words(o, err));
    SG_TRY(moefy_numbers(o, err));
    if (!sg_moefy_is(dense->ffn, "mlp") && !sg_moefy_is(dense->ffn, "glu"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found a model of family %s, expected dense layers: mlp or glu", dense->ffn);
    SG_TRY(moefy_company(dense, o, err));
    SG_TRY(moefy_text(o, err));
    SG_TRY(moefy_size(dense, o, &c->ffn_block_size, err));
    SG_TRY(moefy_counts(dense, o, c, err));
    const bool norm = sg_moefy_is(o->router, "norm"), control = sg_moefy_is(o->router, "random");
    snprintf(c->ffn, sizeof c->ffn, "moefied");
    snprintf(c->ffn_router, sizeof c->ffn_router, "%s", control ? "centroid" : o->router);
    snprintf(c->ffn_select, sizeof c->ffn_select, "%s", o->select);
    c->ffn_threshold = sg_moefy_is(o->select, "top_k") ? 0 : o->threshold;
    c->ffn_router_size = norm && o->router_size == 0 ? moefy_norm_width : o->router_size;
    c->ffn_mean = sg_moefy_is(o->unread, "mean");
    c->ffn_layers[0] = '\0';
    return sg_config_complete(c, err);
}
