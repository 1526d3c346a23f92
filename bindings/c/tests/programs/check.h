/* Checks of the test programs: the first that does not hold ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include "attn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            printf("%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);          \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

/* The call gives this code, and the error has it, too. */
#define CODE(expected, call)                                                               \
    do {                                                                                   \
        attn_code found_ = (call);                                                         \
        if (found_ != (expected) || error.code != (expected)) {                            \
            printf("%s:%d: code %d, error %d, expected %d: %s\n", __FILE__, __LINE__,      \
                   (int)found_, (int)error.code, (int)(expected), #call);                  \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

/* Bytes of a file, of exactly its length, at a multiple of 16. */
static uint8_t *load(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    long size;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size = ftell(file);
    CHECK(size > 0);
    rewind(file);
    bytes = (uint8_t *)malloc((size_t)size);
    CHECK(bytes != NULL && (uintptr_t)bytes % 16 == 0);
    CHECK(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    *len = (size_t)size;
    return bytes;
}

#endif
