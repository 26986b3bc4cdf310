// The context: threads, the table of kernels, the log callback. It stands in this room because it
// chooses kernels and opens the library of products.
#include "base/context.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/log.h"
#include "kernel/gemm_tiles.h"
#include "kernel/kernel.h"
#include "kernel/products.h"

sg_context_options sg_context_options_default(void)
{
    return (sg_context_options){.threads = 0};
}

static sg_status context_no_kernels(const char *name, sg_error *err)
{
    const sg_kernels *tables[SG_TABLES_MAX];
    const int count = sg_kernels_list(tables);
    char known[SG_TABLES_MAX * 16] = "";
    for (int i = 0, used = 0; i < count; i++)
        used += snprintf(known + used, sizeof known - (size_t)used, "%s\"%s\"",
                         i == 0           ? ""
                         : i == count - 1 ? " or "
                                          : ", ",
                         tables[i]->name);
    return sg_fail(err, SG_ERR_ARGUMENT, "kernel: found \"%s\", expected %s on this processor",
                   name, known);
}

sg_status sg_context_new(const sg_context_options *options, sg_context **out, sg_error *err)
{
    *out = NULL;
    sg_context_options chosen = options ? *options : sg_context_options_default();
    int threads = chosen.threads == 0 ? sg_cpu_detect().cores : chosen.threads;
    if (threads < 1 || threads > 1024)
        return sg_fail(err, SG_ERR_ARGUMENT, "threads: found %d, expected 0 to 1024", threads);
    const sg_kernels *kernels = sg_kernels_named(chosen.kernel);
    if (kernels == NULL) return context_no_kernels(chosen.kernel, err);
    SG_TRY(sg_products_open(err));
    sg_context *context = sg_alloc_zero(1, sizeof *context);
    if (context == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a context");
    context->threads = threads;
    context->compute.kernels = kernels;
    context->allocator = chosen.allocator;
    if (chosen.allocator.alloc != NULL) context->compute.allocator = &context->allocator;
    context->log = chosen.log;
    context->log_user = chosen.log_user;
    context->products_refused = sg_products_refused();
    if (threads > 1) {
        sg_status status = sg_pool_new(threads, &context->compute.pool, err);
        if (status != SG_OK) {
            sg_free(context);
            return status;
        }
    }
    if (sg_products_lack() != NULL)
        sg_log(context, SG_LOG_WARNING,
               "dense products are slower than this processor allows: it has %s, which %s does not "
               "use",
               sg_products_lack(), sg_products_name());
    *out = context;
    return SG_OK;
}

void sg_context_free(sg_context *context)
{
    if (context == NULL) return;
    sg_pool_free(context->compute.pool);
    const int64_t refused = sg_products_refused() - context->products_refused;
    if (refused > 0)
        sg_log(context, SG_LOG_WARNING,
               "memory was short: %lld dense products were computed by the plain loops in place of "
               "%s; the result is right, but may differ in its last bits from one with more memory",
               (long long)refused, sg_products_name());
    sg_free(context);
}

int sg_context_threads(const sg_context *context)
{
    return context->threads;
}

const char *sg_context_kernel(const sg_context *context)
{
    return context->compute.kernels->name;
}

const char *sg_context_products(const sg_context *context)
{
    (void)context; // one library for all contexts
    return sg_products_name();
}

const char *sg_context_units(const sg_context *context, sg_compute_kind kind)
{
    (void)context;
    return sg_tiles_name(sg_gemm_unit(kind));
}
