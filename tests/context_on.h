// A context with so many threads, for tests of what computes in one.
#ifndef SG_TESTS_CONTEXT_ON_H
#define SG_TESTS_CONTEXT_ON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "sgatlin.h"

// sg_context_free when done.
static inline sg_context *context_on(int threads)
{
    sg_context *context;
    sg_error err = {0};
    sg_context_options options = sg_context_options_default();
    options.threads = threads;
    if (sg_context_new(&options, &context, &err) != SG_OK) fail_msg("%s", err.message);
    return context;
}

#endif
