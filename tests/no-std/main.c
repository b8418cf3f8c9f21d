/* A C program that embeds the core: it links only if the core needs nothing beyond C's memory functions. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int64_t guard_agent_smoke(void);

/* The unwind tables of the precompiled `alloc` name it; nothing unwinds under panic = "abort". */
void rust_eh_personality(void) { abort(); }

int main(void) {
    int64_t outcome = guard_agent_smoke();
    printf("smoke: %lld\n", (long long)outcome);
    return outcome == 0 ? 0 : 1;
}
