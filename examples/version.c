// The smallest program: makes a context and says what it would compute with.
//
//     cc version.c $(pkg-config --cflags --libs sgatlin) -o version
#include <sgatlin.h>

#include <stdio.h>

int main(void)
{
    sg_error err = {0};
    sg_context *context = NULL;
    if (sg_context_new(NULL, &context, &err) != SG_OK) {
        fprintf(stderr, "%s: %s\n", sg_status_name(err.code), err.message);
        return 1;
    }
    printf("sgatlin %s, %s kernels, products by %s, %d threads\n", sg_version(),
           sg_context_kernel(context), sg_context_products(context), sg_context_threads(context));
    sg_context_free(context);
    return 0;
}
