// The smallest program: which version of the library is this?
//
//     cc version.c $(pkg-config --cflags --libs sgatlin) -o version
#include <sgatlin.h>

#include <stdio.h>

int main(void)
{
    printf("sgatlin %s\n", sg_version());
    return 0;
}
