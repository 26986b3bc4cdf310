// Any bytes as optimizer.safetensors of a checkpoint: what an optimiser with lazy rows takes from
// it, it steps on with and gives back as it was.
#include <stdlib.h>
#include <string.h>

#include "compute_on.h"
#include "memory_fs.h"
#include "train/optimizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 12, WIDTH = 4, SMALL = 3, UPDATES = 5 };

typedef struct side {
    sg_param_list params;
    sg_real table[ROWS * WIDTH], small[SMALL];
    sg_real *values[2];
    sg_gradients gradients;
    sg_optimizer *optimizer;
} side;

static void side_open(side *s)
{
    const sg_optimizer_options options = {
        .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1};
    *s = (side){.values = {s->table, s->small}};
    sg_param_add(&s->params, "", "table", 2, (int64_t[]){ROWS, WIDTH}, SG_INIT_NORMAL, 1);
    sg_param_rows(&s->params, 1);
    sg_param_add(&s->params, "", "small", 1, (int64_t[]){SMALL}, SG_INIT_NORMAL, 1);
    if (sg_gradients_new(&s->params, SG_ROWS_LAZY, 2, NULL, &s->gradients, NULL) != SG_OK ||
        sg_optimizer_new(&s->params, s->values, &s->gradients, &options, &s->optimizer, NULL) !=
            SG_OK)
        abort();
}

static void side_step(side *s)
{
    sg_row_grads *g = s->gradients.rows[0];
    const int32_t ids[] = {1, 5, 11};
    int32_t slots[ROWS];
    g->before_read(g->user, compute_on(NULL), ids, 3);
    sg_row_grads_open(g, ids, 3, false, slots);
    for (int i = 0; i < 3 * WIDTH; i++)
        g->values[i] = (sg_real)0.5;
    for (int i = 0; i < SMALL; i++)
        s->gradients.parts[1][i] = (sg_real)-0.5;
    sg_optimizer_apply(s->optimizer, compute_on(NULL), 0.01, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static side s;
    sg_error err = {0};
    sg_safetensors *file;
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    if (sg_file_write_atomic("state", data, size, NULL) != SG_OK) abort();
    if (sg_safetensors_open("state", &file, &err) == SG_OK) {
        side_open(&s);
        if (sg_optimizer_restore(s.optimizer, file, UPDATES, &err) == SG_OK) {
            side_step(&s);
            sg_optimizer_settle(s.optimizer, compute_on(NULL));
            if (sg_optimizer_updates(s.optimizer) != UPDATES + 1) abort();
        } else if (err.message[0] == '\0') {
            abort();
        }
        sg_optimizer_free(s.optimizer);
        sg_gradients_free(&s.gradients);
        sg_param_list_free(&s.params);
        sg_safetensors_close(file);
    } else if (err.message[0] == '\0') {
        abort();
    }
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}
