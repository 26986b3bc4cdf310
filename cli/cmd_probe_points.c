// sgatlin probe points: the points at which a model can be looked into.
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_probe.h"

static const cli_option points_options[] = {{0}};

static const struct {
    unsigned use;
    const char *name;
} points_uses[] = {
    {SG_POINT_READ, "read"}, {SG_POINT_WRITE, "write"}, {SG_POINT_GRADIENT, "gradient"}};
enum { points_use_count = sizeof points_uses / sizeof *points_uses };

// What stands for a size that a pass decides.
static const char *points_symbol(int dimension)
{
    return dimension == 0 ? "rows" : "keys";
}

static json_t *points_json(const sg_point_info *p)
{
    json_t *shape = json_array(), *can = json_array();
    for (int i = 0; i < p->rank; i++)
        json_array_append_new(shape, p->shape[i] == 0 ? json_string(points_symbol(i))
                                                      : json_integer((json_int_t)p->shape[i]));
    for (int i = 0; i < points_use_count; i++)
        if (p->can & points_uses[i].use)
            json_array_append_new(can, json_string(points_uses[i].name));
    return json_pack("{s:s, s:o, s:s, s:o, s:o}", "name", p->name, "layer",
                     p->layer < 0 ? json_null() : json_integer((json_int_t)p->layer), "dtype",
                     p->kind == SG_POINT_I32 ? "int32" : "float32", "shape", shape, "can", can);
}

static void points_line(const sg_point_info *p, int width)
{
    char shape[96];
    size_t used = 0;
    for (int i = 0; i < p->rank; i++) {
        const char *between = i == 0 ? "(" : ", ";
        const size_t room = sizeof shape - used;
        used +=
            (size_t)(p->shape[i] == 0
                         ? snprintf(shape + used, room, "%s%s", between, points_symbol(i))
                         : snprintf(shape + used, room, "%s%lld", between, (long long)p->shape[i]));
    }
    printf("%-*s  %-7s  %s)%*s", width, p->name, p->kind == SG_POINT_I32 ? "int32" : "float32",
           shape, used < 20 ? 20 - (int)used : 0, "");
    for (int i = 0; i < points_use_count; i++)
        if (p->can & points_uses[i].use) printf(" %s", points_uses[i].name);
    printf("\n");
}

static int points_print(const cli_args *args, const sg_point_info *list, size_t count)
{
    int width = 0;
    json_t *all = args->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        const int length = (int)strlen(list[i].name);
        if (length > width) width = length;
        if (args->json) json_array_append_new(all, points_json(&list[i]));
    }
    if (args->json) return cli_print_json(args, json_pack("{s:o}", "points", all));
    for (size_t i = 0; i < count; i++)
        points_line(&list[i], width);
    return CLI_DONE;
}

static int points_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_point_info *list = NULL;
    size_t count = 0;
    char folder[CLI_PATH];
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_model_open(context, args->operands[0], "stored", &model, folder, &err);
    if (status == SG_OK) status = sg_points_of(model, &list, &count, &err);
    sg_model_free(model);
    sg_context_free(context);
    const int code =
        status == SG_OK ? points_print(args, list, count) : cli_fail(args, status, &err);
    sg_buffer_free(list);
    return code;
}

const cli_command cli_cmd_probe_points = {
    .name = "probe points",
    .summary = "list the points at which a model can be looked into",
    .usage = "MODEL",
    .about =
        "Tells of each point, in the order of the computation, its name (TransformerLens's where "
        "it has one; layers are from 0), the type and the shape of its values, and what can be "
        "done there: read and write by a callback of the library or, of read, by probe dump; "
        "gradient in passes that have one. rows are the tokens of a pass, keys those that a "
        "token can attend to. sgatlin_probe.h says what the values are.",
    .options = points_options,
    .example = "sgatlin probe points runs/first",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "MODEL",
    .run = points_run,
};
