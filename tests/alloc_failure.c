// The loop of alloc_failure.h, by the allocation hook.
#include "alloc_failure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/alloc.h"

static bool failure_hook(void *user, size_t bytes)
{
    (void)bytes;
    int64_t *left = user;
    return (*left)-- != 0;
}

int alloc_failure_loop(alloc_operation operation, void *user)
{
    for (int n = 0;; n++) {
        int64_t left = n, live = sg_alloc_live();
        sg_error err = {0};
        sg_alloc_set_hook(failure_hook, &left);
        sg_status status = operation(user, &err);
        sg_alloc_set_hook(NULL, NULL);
        if (sg_alloc_live() != live) fail_msg("allocation %d failing: a leak", n);
        if (left >= 0) {
            if (status != SG_OK) fail_msg("no allocation failing: %s", err.message);
            if (err.code != SG_OK || err.message[0] != '\0')
                fail_msg("an error is told of what succeeded: %s", err.message);
            return n;
        }
        if (status != SG_ERR_MEMORY)
            fail_msg("allocation %d failing: %s: %s", n, sg_status_name(status), err.message);
        assert_true(err.message[0] != '\0');
    }
}
