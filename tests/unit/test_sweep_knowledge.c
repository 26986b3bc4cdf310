// The sweep of docs/results/knowledge.md asks what stored neurons buy: its file is read, a family's
// cells differ in what they store by a factor of 16 (of the dense ones 4) and hardly in what a
// token costs beside the dense ones, and no run needs more tokens than 100 tellings are.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "model/config.h"
#include "sweep/spec.h"

enum { vocab = 1536, length = 128, tokens_most = 3500000 };

typedef struct knowledge_cell {
    sg_cost cost;
    double tokens;
} knowledge_cell;

static knowledge_cell cell_of(const sg_sweep_spec *spec, size_t index)
{
    sg_error err = {0};
    sg_train_options o;
    knowledge_cell c;
    if (sg_sweep_cell_options(spec, &spec->cells[index], &o, &err) != SG_OK)
        fail_msg("%s", err.message);
    // What the data say.
    o.config.vocab_size = vocab;
    o.config.max_position_embeddings = length;
    if (sg_config_complete(&o.config, &err) != SG_OK ||
        sg_config_cost(&o.config, length, o.batch_size, false, 1, &c.cost, &err) != SG_OK)
        fail_msg("%s", err.message);
    c.tokens = o.flops / (3 * c.cost.forward_flops_per_sequence) * length;
    return c;
}

static bool is_dense(const char *family)
{
    return strcmp(family, "mlp") == 0 || strcmp(family, "glu") == 0;
}

static void test_cells(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_sweep_spec spec;
    if (sg_sweep_spec_read(SG_TEST_DIR "/../sweeps/laptop-knowledge.json", NULL, &spec, &err) !=
        SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(spec.cell_count, 32);
    assert_string_equal(spec.facts, "facts.json");
    size_t pairs = 0;
    for (size_t i = 0; i < spec.cell_count; i++) {
        const knowledge_cell a = cell_of(&spec, i);
        const char *family = spec.cells[i].family;
        assert_true(a.tokens > 0 && a.tokens < tokens_most);
        if (i == 0 || strcmp(spec.cells[i - 1].family, family) != 0 || spec.cells[i].scale < 3)
            continue;
        const knowledge_cell b = cell_of(&spec, i - 1);
        const double stored = (double)a.cost.ffn_neurons / (double)b.cost.ffn_neurons;
        const double price = a.cost.forward_flops_per_sequence / b.cost.forward_flops_per_sequence;
        assert_true(fabs(stored - 4) < 1e-9);
        assert_true(price >= 1 && price < (is_dense(family) ? 2.5 : 1.5));
        assert_int_equal(a.cost.ffn_active_neurons_per_token,
                         b.cost.ffn_active_neurons_per_token * (is_dense(family) ? 4 : 1));
        pairs++;
    }
    assert_int_equal(pairs, 2 + 6 * 2);
    sg_sweep_spec_clear(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cells)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
