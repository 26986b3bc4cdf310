// Configurations: every field in and out, every rule with its message, presets and what they cost.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "ffn/ffn.h"
#include "format/json.h"
#include "model/config.h"
#include "tiny_models.h"

static sg_config tiny(const char *ffn)
{
    return tiny_config(ffn, 32, 64);
}

// ---- fields -----------------------------------------------------------------------------------

static const char *const field_values[] = {
    "77",   "48",  "3",         "4",     "12",      "99",    "1e-05",  "50000.5", "3", "4",
    "5",    "1",   "layernorm", "1",     "2",       "none",  "8.5",    "1",       "1", "1",
    "16",   "2-3", "8",         "8,0,4", "",        "6",     "rotary", "0",       "8", "1",
    "yarn", "2",   "0",         "0",     "16",      "2",     "1.25",   "49",      "1", "",
    "",     "",    "",          "0",     "sgatlin", "dense", "relu",   "0",       "0", "5",
    "49",   "7",   "6",         "0",     "0",       "0",     "",       "0",       "",  "",
    "0",    "1,3", "glu",       "17",    "1",       "",      "0",      "0",       "0", "0",
    "0",    "0",   "0",         "0",     "0",       "0",     "0",      "",        "0", "0",
    "0",    "",    "",          ""};

// The text of a field in the JSON of a configuration.
static void field_text(const json_t *object, const char *name, char out[64])
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL)
        snprintf(out, 64, "0");
    else if (json_is_null(value))
        snprintf(out, 64, "-1");
    else if (json_is_string(value))
        snprintf(out, 64, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(out, 64, "%lld", (long long)json_integer_value(value));
    else
        snprintf(out, 64, "%g", json_real_value(value));
}

static void test_fields(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_config c = {0};
    size_t n = sg_config_field_count();
    assert_int_equal(n, sizeof field_values / sizeof *field_values);
    for (size_t i = 0; i < n; i++) {
        const sg_field *f = sg_config_field_at(i);
        assert_true(f->help[0] != '\0');
        if (sg_config_set(&c, f->name, field_values[i], &err) != SG_OK) fail_msg("%s", err.message);
    }
    assert_null(sg_config_field_at(n));
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    json_t *object = sg_config_json(&c);
    assert_non_null(object);
    for (size_t i = 0; i < n; i++) {
        char text[64];
        if (field_values[i][0] == '\0') {
            assert_null(json_object_get(object, sg_config_field_at(i)->name));
            continue;
        }
        field_text(object, sg_config_field_at(i)->name, text);
        assert_string_equal(text, field_values[i]);
    }
    char *text;
    sg_config back;
    assert_int_equal(sg_json_text(object, true, &text, &err), SG_OK);
    assert_int_equal(sg_config_parse(text, strlen(text), "config.json", &back, &err), SG_OK);
    assert_memory_equal(&back, &c, sizeof c);
    sg_free(text);
    json_decref(object);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int k = 0; tiny_kind(k) != NULL; k++)
        for (int ids = -1; ids <= 1; ids += 2) {
            sg_config c = tiny_config(tiny_kind(k), 32, 64), back;
            c.pad_token_id = c.eos_token_id = c.bos_token_id = ids;
            assert_int_equal(sg_config_complete(&c, NULL), SG_OK);
            json_t *object = sg_config_json(&c);
            char *text;
            assert_int_equal(sg_json_text(object, false, &text, NULL), SG_OK);
            assert_int_equal(sg_config_parse(text, strlen(text), "x", &back, NULL), SG_OK);
            assert_memory_equal(&back, &c, sizeof c);
            sg_free(text);
            json_decref(object);
        }
}

static void expect_set(const char *name, const char *value, const char *message)
{
    sg_error err = {0};
    sg_config c = tiny("sgatlin"), before = c;
    assert_int_equal(sg_config_set(&c, name, value, &err), SG_ERR_ARGUMENT);
    if (strstr(err.message, message) == NULL) fail_msg("%s", err.message);
    assert_memory_equal(&c, &before, sizeof c);
}

static void test_set_refuses(void **state)
{
    (void)state;
    expect_set("hidden", "3", "hidden: there is no such field");
    expect_set("hidden_size", "", "hidden_size: found \"\", expected an integer");
    expect_set("hidden_size", "3.5", "expected an integer");
    expect_set("hidden_size", "12x", "expected an integer");
    expect_set("hidden_size", "-2", "expected an integer from -1");
    expect_set("hidden_size", "1099511627777", "expected an integer from -1 to 1099511627776");
    expect_set("hidden_size", "99999999999999999999999", "expected an integer");
    expect_set("rope_theta", "much", "rope_theta: found \"much\", expected a number");
    expect_set("rope_theta", "inf", "expected a number");
    expect_set("rms_norm_eps", "nan", "expected a number");
    expect_set("ffn", "a-family-with-a-name-that-is-too-long",
               "found 37 bytes, expected less than 24");
}

// ---- rules ------------------------------------------------------------------------------------

static void expect_rule(const char *ffn, const char *field, const char *value, const char *message)
{
    sg_error err = {0};
    sg_config c = tiny(ffn);
    assert_int_equal(sg_config_complete(&c, &err), SG_OK); // before, it is right
    if (sg_config_set(&c, field, value, &err) != SG_OK) fail_msg("%s", err.message);
    if (sg_config_complete(&c, &err) != SG_ERR_ARGUMENT)
        fail_msg("%s %s = %s was taken", ffn, field, value);
    if (strncmp(err.message, message, strlen(message)) != 0)
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *ffn, *field, *value, *message;
    } rules[] = {
        {"mlp", "vocab_size", "1", "vocab_size: found 1, expected 2 to 16777216"},
        {"mlp", "vocab_size", "16777217", "vocab_size: found 16777217"},
        {"mlp", "hidden_size", "0", "hidden_size: found 0, expected 1 to 1048576"},
        {"mlp", "hidden_size", "-1", "hidden_size: found -1"},
        {"mlp", "num_hidden_layers", "0", "num_hidden_layers: found 0, expected 1 to 512"},
        {"mlp", "num_hidden_layers", "513", "num_hidden_layers: found 513"},
        {"mlp", "num_attention_heads", "-1", "num_attention_heads: found -1, expected 1 to 4096"},
        {"mlp", "head_dim", "7", "head_dim: found 7, expected an even number"},
        {"mlp", "head_dim", "-1", "head_dim: found -1, expected 2 to 4096"},
        {"mlp", "max_position_embeddings", "0", "max_position_embeddings: found 0, expected 1 to"},
        {"mlp", "max_position_embeddings", "16777217", "max_position_embeddings: found 16777217"},
        {"mlp", "rms_norm_eps", "1", "rms_norm_eps: found 1, expected at least 0 and less than 1"},
        {"mlp", "rms_norm_eps", "-1e-6", "rms_norm_eps: found -1e-06"},
        {"mlp", "rope_theta", "0.5",
         "rope_theta: found 0.5, expected at least 1 and less than 1e+12"},
        {"mlp", "pad_token_id", "32", "pad_token_id: found 32, expected -1 to 31"},
        {"mlp", "eos_token_id", "32", "eos_token_id: found 32, expected -1 to 31"},
        {"mlp", "bos_token_id", "1000", "bos_token_id: found 1000, expected -1 to 31"},
        {"mlp", "ffn", "dense",
         "ffn: found \"dense\", expected one of mlp, glu, moe, peer, sgatlin"},
        {"mlp", "ffn_router", "dense",
         "ffn_router: found \"dense\", expected one of all for family mlp"},
        {"glu", "ffn_activation", "gelu",
         "ffn_activation: found \"gelu\", expected one of clamped_swiglu, swiglu, geglu, "
         "geglu_erf, reglu for family glu"},
        {"moe", "ffn_router", "product_dense",
         "ffn_router: found \"product_dense\", expected one of linear for family moe"},
        {"sgatlin", "ffn_router", "all",
         "ffn_router: found \"all\", expected one of product_dense, product_key_value, dense, "
         "key_value for family sgatlin"},
        {"mlp", "num_key_value_heads", "3",
         "num_key_value_heads: found 3, expected a divisor of the 2 heads"},
        {"mlp", "norm", "batchnorm",
         "norm: found \"batchnorm\", expected one of rmsnorm, layernorm"},
        {"mlp", "qk_norm", "all", "qk_norm: found \"all\", expected one of head, full, none"},
        {"mlp", "positions", "alibi",
         "positions: found \"alibi\", expected one of rotary, learned"},
        {"mlp", "rotary_dim", "3", "rotary_dim: found 3, expected an even number"},
        {"mlp", "rope_scaling", "longrope",
         "rope_scaling: found \"longrope\", expected one of none, linear, llama3, yarn"},
        {"mlp", "rope_scaling", "linear", "rope_factor: found 0, expected more than 0"},
        {"mlp", "clip_qkv", "-1", "clip_qkv: found -1, expected at least 0 and less than 1e+12"},
        {"mlp", "attention_sinks", "2", "attention_sinks: found 2, expected 0 or 1"},
        {"mlp", "untied_classifier", "2", "untied_classifier: found 2, expected 0 or 1"},
        {"peer", "ffn_activation", "clamped_swiglu",
         "ffn_activation: found \"clamped_swiglu\", expected one of gelu, relu, swish, identity"},
        {"mlp", "ffn_intermediate_size", "0",
         "ffn_intermediate_size: found 0, expected 1 to 16777216 for family mlp"},
        {"glu", "ffn_intermediate_size", "-1", "ffn_intermediate_size: found -1"},
        {"moe", "ffn_experts", "0", "ffn_experts: found 0, expected 1 to 65536 for family moe"},
        {"moe", "ffn_top_k", "0", "ffn_top_k: found 0, expected 1 to 16384 for family moe"},
        {"moe", "ffn_top_k", "5", "ffn_top_k: found 5, expected at most 4 experts"},
        {"peer", "ffn_channels", "0", "ffn_channels: found 0, expected 1 to 4096"},
        {"sgatlin", "ffn_channels", "4097", "ffn_channels: found 4097"},
        {"sgatlin", "ffn_neurons", "0", "ffn_neurons: found 0"},
        {"sgatlin", "ffn_neurons", "26",
         "ffn_neurons: found 26, expected a square for router product_dense"},
        {"peer", "ffn_neurons", "24",
         "ffn_neurons: found 24, expected a square for router product_key_value"},
        {"sgatlin", "ffn_neurons", "1073741825", "ffn_neurons: found 1073741825"},
        {"sgatlin", "ffn_key_size", "-1", "ffn_key_size: found -1, expected 1 to 65536"},
        {"sgatlin", "ffn_top_k", "5",
         "ffn_top_k: found 5, expected less than the square root of the neurons, 5"},
        {"peer", "ffn_top_k", "16385", "ffn_top_k: found 16385, expected 1 to 16384"},
        // Memories of cells: 6 x 24 cells in blocks of 2, of which 8 are read.
        {"avgk", "ffn_memory_factor", "0", "ffn_memory_factor: found 0, expected 1 to 65536"},
        {"switch", "ffn_block_size", "-1", "ffn_block_size: found -1, expected 0 to 1073741824"},
        {"randhash", "ffn_hash_seed", "-1", "ffn_hash_seed: found -1, expected 0 to 1099511627776"},
        {"avgk", "ffn_active_neurons", "146",
         "ffn_active_neurons: found 146, expected at most the 144 cells (ffn_memory_factor times "
         "ffn_intermediate_size)"},
        {"avgk", "ffn_block_size", "5",
         "ffn_block_size: found 5, expected a divisor of the 144 cells"},
        {"switch", "ffn_block_size", "288",
         "ffn_block_size: found 288, expected a divisor of the 144 cells"},
        {"randhash", "ffn_block_size", "6",
         "ffn_block_size: found 6, expected a divisor of the 8 active cells (ffn_active_neurons)"},
        {"avgk", "ffn_gate", "before",
         "ffn_gate: found \"before\", expected one of none, after for family avgk"},
        {"avgk", "ffn_router", "hash",
         "ffn_router: found \"hash\", expected one of average for family avgk"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        expect_rule(rules[i].ffn, rules[i].field, rules[i].value, rules[i].message);
    sg_error err = {0};
    sg_config c = tiny("sgatlin");
    strcpy(c.ffn_router, "dense");
    c.ffn_neurons = 7; // no square, and all but one may be selected
    c.ffn_top_k = 7;
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    c.ffn_top_k = 8;
    assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "ffn_top_k: found 8, expected at most 7 neurons");
    c = tiny("randhash");
    c.ffn_intermediate_size = 1 << 24;
    c.ffn_memory_factor = 65;
    assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "ffn_memory_factor: found 65, expected at most 64"));
    c.ffn_memory_factor = 64;
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    // A hash draws any number of blocks; what is found by a top-k has a limit.
    c = tiny("randhash");
    c.ffn_intermediate_size = c.ffn_active_neurons = SG_TOPK_MAX + 1;
    c.ffn_block_size = 1;
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    strcpy(c.ffn, "avgk");
    c.ffn_router[0] = '\0';
    assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message,
                        "ffn_block_size: found 1, expected blocks of which a token reads at most "
                        "16384, not 16385 (ffn_active_neurons divided by ffn_block_size)");
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const expected[][3] = {{"mlp", "all", "gelu"},
                                              {"glu", "all", "clamped_swiglu"},
                                              {"moe", "linear", "clamped_swiglu"},
                                              {"peer", "product_key_value", "gelu"},
                                              {"sgatlin", "product_dense", "identity"}};
    for (int i = 0; i < 5; i++) {
        sg_config c = tiny(expected[i][0]);
        assert_int_equal(sg_config_complete(&c, NULL), SG_OK);
        assert_string_equal(c.ffn_router, expected[i][1]);
        assert_string_equal(c.ffn_activation, expected[i][2]);
        assert_true(c.rms_norm_eps == 1e-6 && c.rope_theta == 10000);
        // What the family has not is 0 afterwards.
        assert_int_equal(c.ffn_intermediate_size, i < 3 ? 24 : 0);
        assert_int_equal(c.ffn_experts, i == 2 ? 4 : 0);
        assert_int_equal(c.ffn_channels, i > 2 ? 2 : 0);
        assert_int_equal(c.ffn_neurons, i > 2 ? 25 : 0);
        assert_int_equal(c.ffn_key_size, i > 2 ? 6 : 0);
        assert_int_equal(c.ffn_top_k, i > 1 ? 3 : 0);
        sg_config again = c;
        assert_int_equal(sg_config_complete(&again, NULL), SG_OK);
        assert_memory_equal(&again, &c, sizeof c);
    }
}

static void test_heads(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_config c = tiny("mlp");
    c.hidden_size = 192;
    c.num_attention_heads = c.head_dim = 0;
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    assert_int_equal(c.num_attention_heads, 3);
    assert_int_equal(c.head_dim, 64);
    c.num_attention_heads = 4;
    c.head_dim = 0;
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    assert_int_equal(c.head_dim, 48);
    c.num_attention_heads = 0;
    c.head_dim = 128;
    assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "num_attention_heads: not given, and hidden_size 192 is no "
                                     "multiple of head_dim 128");
    c.num_attention_heads = 5;
    c.head_dim = 0;
    assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "head_dim: not given, and hidden_size 192 is no multiple of "
                                     "num_attention_heads 5");
    c = tiny("mlp");
    c.head_dim = 4096;
    c.max_position_embeddings = 1 << 16;
    assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "max_position_embeddings: found 65536, expected at most 32768 "
                                     "for heads of 4096");
}

static void expect_parse(const char *text, sg_status status, const char *message)
{
    sg_error err = {0};
    sg_config c;
    assert_int_equal(sg_config_parse(text, strlen(text), "m/config.json", &c, &err), status);
    if (strstr(err.message, message) == NULL || strstr(err.message, "m/config.json") == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
}

#define GOOD                                                                                       \
    "\"model_type\": \"sgatlin\", \"vocab_size\": 32, \"hidden_size\": 16, "                       \
    "\"num_hidden_layers\": 1, \"head_dim\": 8, \"max_position_embeddings\": 9, \"ffn\": \"mlp\""

static void test_parse(void **state)
{
    (void)state;
    sg_config c;
    const char *good = "{" GOOD ", \"ffn_intermediate_size\": 8, \"other\": [1], "
                       "\"eos_token_id\": null}";
    assert_int_equal(sg_config_parse(good, strlen(good), "x", &c, NULL), SG_OK);
    assert_int_equal(c.eos_token_id, -1);
    assert_int_equal(c.num_attention_heads, 2);
    expect_parse("{", SG_ERR_FORMAT, "");
    expect_parse("[1]", SG_ERR_FORMAT, "");
    expect_parse("{}", SG_ERR_FORMAT, "\"model_type\"");
    expect_parse("{\"model_type\": \"llama\"}", SG_ERR_UNSUPPORTED,
                 "found \"llama\", expected \"sgatlin\"");
    const char *untied = "{" GOOD ", \"ffn_intermediate_size\": 8, \"tie_word_embeddings\": false}";
    assert_int_equal(sg_config_parse(untied, strlen(untied), "x", &c, NULL), SG_OK);
    assert_int_equal(c.untied_classifier, 1);
    expect_parse("{" GOOD "}", SG_ERR_FORMAT, "ffn_intermediate_size: found 0");
    expect_parse("{" GOOD ", \"ffn_top_k\": \"8\"}", SG_ERR_FORMAT, "\"ffn_top_k\"");
    expect_parse("{" GOOD ", \"ffn_top_k\": 1e3}", SG_ERR_FORMAT, "\"ffn_top_k\"");
    expect_parse("{" GOOD ", \"ffn_top_k\": 99999999999999}", SG_ERR_FORMAT, "\"ffn_top_k\"");
    expect_parse("{" GOOD ", \"ffn_router\": \"a name that is far too long for one\"}",
                 SG_ERR_FORMAT, "\"ffn_router\"");
    expect_parse("{" GOOD ", \"rope_theta\": true}", SG_ERR_FORMAT, "\"rope_theta\"");
}

// A 0 that is said is not one that is left out: it is taken, or refused, by whatever way it comes.
static void test_zeros(void **state)
{
    (void)state;
    static const char *const fields[] = {"num_attention_heads", "head_dim",
                                         "rope_original_positions"};
    static const char *const words[] = {"norm", "qk_norm", "positions", "rope_scaling", "ffn"};
    sg_error err = {0};
    sg_config c = tiny("mlp"), back;
    assert_true(c.rms_norm_eps == 0); // left out
    assert_int_equal(sg_config_complete(&c, &err), SG_OK);
    assert_true(c.rms_norm_eps == 1e-6);
    assert_int_equal(sg_config_set(&c, "rms_norm_eps", "0", &err), SG_OK);
    for (int i = 0; i < 2; i++) { // a complete one stays as it is
        assert_int_equal(sg_config_complete(&c, &err), SG_OK);
        assert_true(c.rms_norm_eps == 0);
    }
    json_t *object = sg_config_json(&c);
    char *text;
    assert_int_equal(sg_json_text(object, false, &text, NULL), SG_OK);
    assert_non_null(strstr(text, "\"rms_norm_eps\":0.0"));
    assert_int_equal(sg_config_parse(text, strlen(text), "x", &back, NULL), SG_OK);
    assert_memory_equal(&back, &c, sizeof c);
    sg_free(text);
    json_decref(object);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char wrong[600], message[80];
        snprintf(wrong, sizeof wrong, "{" GOOD ", \"ffn_intermediate_size\": 8, \"%s\": 0}",
                 fields[i]);
        snprintf(message, sizeof message, "%s: found 0, expected at least 1", fields[i]);
        // head_dim is in GOOD: a key twice is refused too.
        expect_parse(wrong, SG_ERR_FORMAT, i == 1 ? "duplicate" : message);
        expect_set(fields[i], "0", message);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        expect_set(words[i], "", "found \"\", expected a name");
    expect_rule("mlp", "rope_theta", "0", "rope_theta: found 0, expected at least 1 and less than");
    expect_rule("mlp", "rope_theta", "1e+12",
                "rope_theta: found 1e+12, expected at least 1 and less");
    expect_rule("mlp", "rope_theta", "0.99999999999",
                "rope_theta: found 0.99999999999, expected at");
    expect_parse("{" GOOD ", \"ffn_intermediate_size\": 8, \"rope_theta\": 0}", SG_ERR_FORMAT,
                 "rope_theta: found 0");
}

static sg_status parse_operation(void *user, sg_error *err)
{
    (void)user;
    sg_config c;
    const char *good = "{" GOOD ", \"ffn_intermediate_size\": 8}";
    sg_param_list params;
    SG_TRY(sg_config_parse(good, strlen(good), "x", &c, err));
    SG_TRY(sg_config_params(&c, &params, err));
    sg_param_list_free(&params);
    json_t *object = sg_config_json(&c);
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "no memory");
    json_decref(object);
    sg_cost cost;
    return sg_config_cost(&c, 9, 2, true, 2, &cost, err);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(parse_operation, NULL) > 10);
}

// ---- presets and cost -------------------------------------------------------------------------

static void test_preset_names(void **state)
{
    (void)state;
    sg_preset p;
    sg_error err = {0};
    size_t n = 0;
    for (; sg_preset_name(n) != NULL; n++) {
        if (sg_preset_find(sg_preset_name(n), &p, &err) != SG_OK) fail_msg("%s", err.message);
        assert_string_equal(p.name, sg_preset_name(n));
        assert_int_equal(p.config.max_position_embeddings, p.seq_len);
        assert_int_equal(p.config.num_attention_heads * p.config.head_dim, p.config.hidden_size);
        assert_int_equal(p.config.head_dim, strncmp(p.name, "laptop-", 7) == 0 ? 16 : 64);
        assert_true(p.batch_size > 0 && p.lr > 0 && p.warmup_steps > 0);
        const char *family = strchr(p.name, '-');
        if (family != NULL)
            assert_int_equal(strncmp(family + 1, p.config.ffn, strlen(p.config.ffn)), 0);
    }
    size_t all = 0;
    while (sg_family_name(all) != NULL)
        all++;
    assert_int_equal(n, 1 + 5 + 45 + 12 * all);
    // The demo, the small ones and the ladders, each in the order of the table.
    static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};
    for (size_t f = 0; f < 5; f++) {
        char name[40];
        snprintf(name, sizeof name, "tinystories-%s", families[f]);
        assert_string_equal(sg_preset_name(1 + f), name);
        for (size_t s = 1; s <= 9; s++) {
            snprintf(name, sizeof name, "slimpajama-%s-s%zu", families[f], s);
            assert_string_equal(sg_preset_name(5 + 9 * f + s), name);
        }
    }
    for (size_t f = 0; f < all; f++)
        for (size_t rung = 1; rung <= 12; rung++) {
            char name[40];
            snprintf(name, sizeof name, "laptop-%s-s%zu", sg_family_name(f), rung);
            assert_string_equal(sg_preset_name(50 + 12 * f + rung), name);
        }
    assert_null(sg_preset_name(n + 7));
    static const char *const wrong[] = {"",
                                        "demo2",
                                        "slimpajama-moe-s10",
                                        "slimpajama-moe",
                                        "tinystories-",
                                        "laptop-mlp-s13",
                                        "laptop-mlp-s0",
                                        "laptop-lstm-s1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(sg_preset_find(wrong[i], &p, &err), SG_ERR_NOT_FOUND);
        assert_non_null(strstr(err.message, "demo, tinystories-FAMILY"));
        assert_non_null(strstr(err.message, "FAMILY one of mlp, glu, moe, peer, sgatlin and N"));
    }
}

static void test_preset_recipes(void **state)
{
    (void)state;
    sg_preset p;
    assert_int_equal(sg_preset_find("tinystories-sgatlin", &p, NULL), SG_OK);
    const sg_config *c = &p.config;
    assert_true(p.batch_size == 256 && p.seq_len == 1024 && p.warmup_steps == 100 && p.clip == 2);
    assert_true(p.lr == 1e-3 && p.weight_decay == 0.1 && p.decay_fraction == 0.2);
    assert_true(c->vocab_size == 8192 && c->hidden_size == 256 && c->num_hidden_layers == 4);
    assert_true(c->ffn_channels == 8 && c->ffn_top_k == 8 && c->ffn_key_size == 128);
    assert_int_equal(c->ffn_neurons, 1024);
    static const int64_t wide[] = {512, 1024, 1280, 1536, 2048, 2304, 2560}; // spec 5.10, s 2 to 8
    for (int64_t s = 2; s <= 8; s++) {
        char name[40];
        const struct {
            const char *family;
            int64_t wide, neurons;
        } rows[] = {{"mlp", wide[s - 2], 0},
                    {"glu", wide[s - 2], 0},
                    {"moe", 128 * s, 0},
                    {"peer", 0, (32 + 24 * s) * (32 + 24 * s)},
                    {"sgatlin", 0, (16 + 12 * s) * (16 + 12 * s)}};
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof name, "slimpajama-%s-s%lld", rows[i].family, (long long)s);
            assert_int_equal(sg_preset_find(name, &p, NULL), SG_OK);
            assert_int_equal(c->hidden_size, 128 * s);
            assert_int_equal(c->num_hidden_layers, 2 * s);
            assert_int_equal(c->vocab_size, 50258);
            assert_int_equal(c->ffn_intermediate_size, rows[i].wide);
            assert_int_equal(c->ffn_neurons, rows[i].neurons);
            assert_int_equal(c->ffn_channels, rows[i].neurons ? 16 : 0);
            assert_true(p.batch_size == 128 && p.seq_len == 2048 && p.warmup_steps == 1000);
            assert_true(p.clip == 1);
        }
    }
}

static void test_set_family(void **state)
{
    (void)state;
    sg_error err = {0};
    static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};
    for (int from = 0; from < 5; from++)
        for (int to = 0; to < 5; to++) {
            char name[40];
            sg_preset p, expected;
            snprintf(name, sizeof name, "slimpajama-%s-s3", families[to]);
            assert_int_equal(sg_preset_find(name, &expected, NULL), SG_OK);
            snprintf(name, sizeof name, "slimpajama-%s-s3", families[from]);
            assert_int_equal(sg_preset_find(name, &p, NULL), SG_OK);
            assert_int_equal(sg_preset_set_family(&p, families[to], &err), SG_OK);
            assert_memory_equal(&p.config, &expected.config, sizeof p.config);
        }
    sg_preset p;
    // Every family has sizes at every scale.
    for (size_t f = 0; sg_family_name(f) != NULL; f++)
        for (size_t n = 0; sg_preset_name(n) != NULL; n++) {
            assert_int_equal(sg_preset_find(sg_preset_name(n), &p, NULL), SG_OK);
            if (sg_preset_set_family(&p, sg_family_name(f), &err) != SG_OK ||
                sg_config_complete(&p.config, &err) != SG_OK)
                fail_msg("%s of %s: %s", sg_family_name(f), sg_preset_name(n), err.message);
            assert_int_equal(p.config.ffn_share_pool, strcmp(p.config.ffn, "memory_plus") == 0);
        }
    assert_int_equal(sg_preset_find("demo", &p, NULL), SG_OK);
    p.lr = 0.5;
    p.config.hidden_size = 192;
    p.config.vocab_size = 0; // comes with the tokenizer
    assert_int_equal(sg_preset_set_family(&p, "mlp", &err), SG_OK);
    assert_true(p.lr == 0.5 && p.config.ffn_intermediate_size == 768 && p.config.vocab_size == 0);
    assert_int_equal(sg_preset_set_family(&p, "lstm", &err), SG_ERR_ARGUMENT);
    char expected[SG_FAMILY_LIST + 40], list[SG_FAMILY_LIST];
    snprintf(expected, sizeof expected, "ffn: found \"lstm\", expected one of %s",
             sg_family_list(list, sizeof list, NULL));
    assert_string_equal(err.message, expected);
    p.name = "mine";
    assert_int_equal(sg_preset_set_family(&p, "mlp", &err), SG_ERR_NOT_FOUND);
    p.name = NULL;
    assert_int_equal(sg_preset_set_family(&p, "mlp", &err), SG_ERR_NOT_FOUND);
}

static sg_cost cost_of(const char *name, int64_t seq_len)
{
    sg_preset p;
    sg_cost cost;
    sg_error err = {0};
    assert_int_equal(sg_preset_find(name, &p, NULL), SG_OK);
    if (sg_config_cost(&p.config, seq_len, 1, true, 1, &cost, &err) != SG_OK)
        fail_msg("%s: %s", name, err.message);
    return cost;
}

// The budget table of spec 5.10: n = Q // (3 forward B), with s in the rows. 0: not published.
static void test_budgets(void **state)
{
    (void)state;
    static const struct {
        double budget;
        int64_t batch, seq_len;
        const char *family;
        int64_t steps[7]; // s 2 to 8
    } rows[] = {
        {1e17, 64, 1024, "mlp", {60632, 19598, 9328, 5174, 2994, 0, 0}},
        {1e17, 64, 1024, "glu", {53895, 16583, 7823, 4311, 2449, 0, 0}},
        {1e17, 64, 1024, "moe", {53709, 18695, 8642, 4694, 2831, 0, 0}},
        {1e17, 64, 1024, "peer", {28533, 12202, 6554, 4000, 2650, 0, 0}},
        {1e17, 64, 1024, "sgatlin", {60632, 24405, 12437, 7253, 4619, 0, 0}},
        {6e17, 64, 1024, "mlp", {0, 117591, 55968, 31044, 17965, 11879, 0}},
        {6e17, 64, 1024, "glu", {0, 99500, 46941, 25870, 14698, 9697, 0}},
        {6e17, 64, 1024, "moe", {0, 112173, 51855, 28168, 16991, 11034, 0}},
        {6e17, 64, 1024, "peer", {0, 73217, 39329, 24003, 15903, 11161, 0}},
        {6e17, 64, 1024, "sgatlin", {0, 146434, 74625, 43519, 27717, 18791, 0}},
        {1e18, 128, 2048, "mlp", {0, 35930, 17833, 10211, 6124, 4124, 0}},
        {1e18, 128, 2048, "glu", {0, 31703, 15546, 8819, 5182, 3473, 0}},
        {1e18, 128, 2048, "moe", {0, 34701, 16813, 9450, 5850, 3877, 0}},
        {1e18, 128, 2048, "peer", {0, 24875, 13473, 8291, 5537, 3914, 0}},
        {1e18, 128, 2048, "sgatlin", {0, 41996, 22048, 13199, 8600, 5948, 0}},
        {6e18, 128, 2048, "mlp", {0, 0, 0, 61271, 36747, 24748, 17490}},
        {6e18, 128, 2048, "glu", {0, 0, 0, 52916, 31093, 20840, 14669}},
        {6e18, 128, 2048, "moe", {0, 0, 0, 56701, 35101, 23263, 16222}},
        {6e18, 128, 2048, "peer", {0, 0, 0, 49750, 33223, 23489, 17323}},
        {6e18, 128, 2048, "sgatlin", {0, 0, 0, 79194, 51602, 35688, 25801}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int s = 2; s <= 8; s++) {
            if (rows[r].steps[s - 2] == 0) continue;
            char name[40];
            snprintf(name, sizeof name, "slimpajama-%s-s%d", rows[r].family, s);
            double forward = cost_of(name, rows[r].seq_len).forward_flops_per_sequence;
            double steps = floor(rows[r].budget / (3 * forward * (double)rows[r].batch));
            if (steps != (double)rows[r].steps[s - 2])
                fail_msg("%s, %g FLOPs: found %.0f steps, expected %lld", name, rows[r].budget,
                         steps, (long long)rows[r].steps[s - 2]);
        }
}

static void test_cost(void **state)
{
    (void)state;
    sg_cost c = cost_of("tinystories-sgatlin", 1024);
    assert_int_equal(c.parameters, 20318976);
    assert_true(c.forward_flops_per_sequence == 7516192768.0);
    assert_true(c.attention_flops + c.router_flops + c.memory_flops ==
                c.forward_flops_per_sequence);
    assert_true(c.logits_flops == 2.0 * 1024 * 256 * 8192);
    assert_true(c.forward_flops_per_sequence_all_in ==
                c.forward_flops_per_sequence + c.logits_flops);
    assert_int_equal(c.ffn_neurons, 4 * 8 * 1024);
    assert_int_equal(c.ffn_active_neurons_per_token, 4 * 8 * 8);
    assert_int_equal(c.parameters - c.active_parameters_per_token,
                     4 * 2 * 256 * (8 * 1024 - 8 * 8));
    assert_int_equal(c.weight_bytes, 4 * c.parameters);
    assert_int_equal(c.gradient_bytes, 4 * c.parameters);
    assert_int_equal(c.optimizer_bytes, 8 * c.parameters);
    c = cost_of("tinystories-mlp", 1024);
    assert_int_equal(c.active_parameters_per_token, c.parameters);
    c = cost_of("tinystories-moe", 1024); // of 8 experts, 2 are read
    assert_int_equal(c.parameters - c.active_parameters_per_token,
                     4 * 6 * (3 * 256 * 1024 + 2 * 1024 + 256));
    c = cost_of("slimpajama-sgatlin-s2", 1024); // compute sparsity of spec 5.10
    double sparsity = (double)c.ffn_active_neurons_per_token / (double)c.ffn_neurons;
    assert_true(sparsity == 8.0 / 1600);
}

static void test_cost_memory(void **state)
{
    (void)state;
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_config c = tiny_config(tiny_kind(k), 32, 64);
        c.num_hidden_layers = 6;
        c.attention_mlp_k[0] = c.attention_mlp_v[0] = '\0'; // lists of two layers
        sg_cost plain, again, twice;
        assert_int_equal(sg_config_cost(&c, 64, 2, false, 1, &plain, NULL), SG_OK);
        assert_int_equal(sg_config_cost(&c, 64, 2, true, 1, &again, NULL), SG_OK);
        assert_int_equal(sg_config_cost(&c, 64, 4, false, 1, &twice, NULL), SG_OK);
        assert_true(again.activation_bytes < plain.activation_bytes);
        assert_true(twice.activation_bytes > plain.activation_bytes);
        assert_true(again.parameters == plain.parameters &&
                    again.forward_flops_per_sequence == plain.forward_flops_per_sequence);
    }
}

static void expect_cost(const sg_config *c, int64_t seq_len, int64_t batch, int threads,
                        sg_status expected)
{
    sg_error err = {0};
    sg_cost cost;
    sg_status status = sg_config_cost(c, seq_len, batch, false, threads, &cost, &err);
    if (status != expected)
        fail_msg("found %s (%s), expected %s", sg_status_name(status), err.message,
                 sg_status_name(expected));
    if (status != SG_OK) assert_true(err.message[0] != '\0');
}

// Whatever is valid field by field either has a cost or fails with a reason.
static void test_absurd_sizes(void **state)
{
    (void)state;
    sg_config c = tiny_config("sgatlin", 32, 64);
    expect_cost(&c, 0, 1, 1, SG_ERR_ARGUMENT);
    expect_cost(&c, 1 << 25, 1, 1, SG_ERR_ARGUMENT);
    expect_cost(&c, 64, 0, 1, SG_ERR_ARGUMENT);
    expect_cost(&c, 64, INT64_MAX, 1, SG_ERR_ARGUMENT);
    expect_cost(&c, 64, 1, -1, SG_ERR_ARGUMENT);
    expect_cost(&c, 64, 1, 1 << 20, SG_ERR_ARGUMENT);
    expect_cost(&c, 64, 1, 0, SG_OK);
    expect_cost(&c, 1 << 24, 1 << 20, 1, SG_ERR_ARGUMENT);
    c.vocab_size = 1 << 24;
    c.hidden_size = 1 << 20;
    expect_cost(&c, 64, 1, 1, SG_OK); // 2^44 parameters: no machine has them, but they count
    expect_cost(&c, 1 << 24, 1 << 3, 4096, SG_ERR_MEMORY);
    c.ffn_neurons = 1 << 30;
    c.ffn_channels = 1 << 12;
    expect_cost(&c, 64, 1, 1, SG_ERR_ARGUMENT);
    sg_config m = tiny("moe");
    m.ffn_experts = 1 << 16;
    m.ffn_intermediate_size = 1 << 24;
    m.ffn_top_k = 512;
    expect_cost(&m, 64, 1, 1, SG_OK);
    m.hidden_size = 1 << 20;
    expect_cost(&m, 64, 1, 1, SG_ERR_ARGUMENT);
    sg_config l = tiny("mlp");
    l.vocab_size = 1 << 24;
    l.hidden_size = 1 << 20;
    l.num_attention_heads = l.head_dim = 4096;
    l.ffn_intermediate_size = 1 << 24;
    l.num_hidden_layers = 512;
    expect_cost(&l, 64, 1, 1, SG_ERR_ARGUMENT); // 2^48 parameters only all together
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_set_refuses),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_preset_names),
        cmocka_unit_test(test_preset_recipes),
        cmocka_unit_test(test_set_family),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_cost_memory),
        cmocka_unit_test(test_absurd_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
