// sgatlin version: what this build is and what it would compute with. With --json all that a report
// of a fault should hold.
#include "cli/cli.h"
#include "sgatlin_bench.h"

enum { VERSION_LIBRARIES = 16 };

static json_t *version_text(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *version_number(double value)
{
    return value > 0 ? json_real(value) : json_null();
}

static json_t *version_libraries(void)
{
    sg_library list[VERSION_LIBRARIES];
    const size_t count = sg_libraries(list, VERSION_LIBRARIES);
    json_t *object = json_object();
    for (size_t i = 0; i < count && i < VERSION_LIBRARIES; i++)
        json_object_set_new(object, list[i].name, json_string(list[i].version));
    return object;
}

static json_t *version_json(const sg_context *context)
{
    sg_machine m;
    sg_machine_describe(&m);
    const int threads = sg_context_threads(context);
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:i, s:o, s:o, s:o, s:i, s:i, s:i, s:o, s:o, s:o, s:I, s:o, s:s, "
        "s:o}",
        "version", sg_version(), "kernel", sg_context_kernel(context), "products",
        sg_context_products(context), "units",
        version_text(sg_context_units(context, SG_COMPUTE_BF16)), "threads", threads, "cpu",
        version_text(m.cpu), "cpu_kind", version_text(m.cpu_kind), "cpu_flags",
        version_text(m.flags), "processors", m.threads, "cores", m.cores, "vector_bits",
        m.vector_bits, "ghz", version_number(m.ghz), "ghz_from", version_text(m.ghz_from),
        "peak_gflops", version_number(sg_measure_peak(context)), "memory_bytes",
        (json_int_t)m.memory_bytes, "system", version_text(m.system), "compiler", sg_compiler(),
        "libraries", version_libraries());
}

static int version_run(const cli_args *args)
{
    sg_context *context = NULL;
    sg_error err = {0};
    int code = CLI_DONE;
    if (!args->json) printf("sgatlin %s\n", sg_version()); // also where nothing can compute
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const char *units = sg_context_units(context, SG_COMPUTE_BF16);
    if (args->json)
        code = cli_print_json(args, version_json(context));
    else
        printf("kernels %s, products %s, bf16 units %s, threads %d\n", sg_context_kernel(context),
               sg_context_products(context), units != NULL ? units : "none",
               sg_context_threads(context));
    sg_context_free(context);
    return code;
}

const cli_command cli_cmd_version = {
    .name = "version",
    .summary = "print the version and what computes; --json: a full report",
    .usage = "[--json]",
    .about = "Paste what --json prints into a report of a fault.",
    .example = "sgatlin version --json",
    .run = version_run,
};
