/* The emulated Cortex-M4 (mps2-an386) without a C library: start-up, and files and console of the computer by semihosting. */
#include "board.h"

#include <stdint.h>

/* From link.ld. */
extern uint32_t _data_start, _data_end, _data_load, _bss_start, _bss_end, _stack_end, _stack_start;

int main(int argc, char **argv);
void reset(void);

/* What the stack is filled with before main. */
#define PAINT 0xcccccccc

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_GET_CMDLINE = 0x15, SYS_EXIT_EXTENDED = 0x20 };

static uint32_t semihost(uint32_t call, const volatile void *block) {
    register uint32_t r0 __asm__("r0") = call;
    register const volatile void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t open_file(const char *path, size_t len, uint32_t mode) {
    volatile uint32_t block[3] = {(uint32_t)path, mode, len};
    return semihost(SYS_OPEN, block);
}

static uint32_t file;

bool board_open(const char *path) {
    size_t len = 0;
    while (path[len] != 0) {
        len += 1;
    }
    file = open_file(path, len, 1);
    return file != UINT32_MAX;
}

size_t board_read(void *bytes, size_t count) {
    volatile uint32_t block[3] = {file, (uint32_t)bytes, count};
    /* The call returns how many bytes are missing. */
    return count - semihost(SYS_READ, block);
}

void board_print(const char *text, size_t len) {
    static uint32_t console;
    if (console == 0) {
        console = open_file(":tt", 3, 4) + 1;
    }
    volatile uint32_t block[3] = {console - 1, (uint32_t)text, len};
    semihost(SYS_WRITE, block);
}

size_t board_stack(void) {
    const volatile uint32_t *at = &_stack_end;
    while (at < &_stack_start && *at == PAINT) {
        at += 1;
    }
    return (size_t)((const volatile char *)&_stack_start - (const volatile char *)at);
}

static void end(uint32_t status) {
    volatile uint32_t block[2] = {0x20026, status};
    semihost(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

static void fault(void) {
    static const char text[] = "error: fault\n";
    board_print(text, sizeof text - 1);
    end(2);
}

/* Main, with the words of the command line. */
static void run(void) {
    static char line[256];
    char *words[8];
    int count = 1;
    volatile uint32_t block[2] = {(uint32_t)line, sizeof line};
    words[0] = line;
    if (semihost(SYS_GET_CMDLINE, block) == 0) {
        char *at = line;
        while (*at != 0 && count < 8) {
            words[count++] = at;
            while (*at != 0 && *at != ' ') {
                at += 1;
            }
            if (*at == ' ') {
                *at++ = 0;
            }
        }
    }
    end((uint32_t)main(count, words));
}

/* Nothing runs before it, so it has no variables of its own on the stack that it paints. */
__attribute__((naked, noreturn)) void reset(void) {
    __asm__ volatile(
        /* The floating-point unit. */
        "ldr r0, =0xe000ed88\n"
        "ldr r1, [r0]\n"
        "orr r1, r1, #0xf00000\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
        /* Variables with a value, then those without, then the stack. */
        "ldr r0, =_data_start\n"
        "ldr r1, =_data_end\n"
        "ldr r2, =_data_load\n"
        "1: cmp r0, r1\n"
        "ittt lo\n"
        "ldrlo r3, [r2], #4\n"
        "strlo r3, [r0], #4\n"
        "blo 1b\n"
        "ldr r0, =_bss_start\n"
        "ldr r1, =_bss_end\n"
        "movs r3, #0\n"
        "2: cmp r0, r1\n"
        "itt lo\n"
        "strlo r3, [r0], #4\n"
        "blo 2b\n"
        "ldr r0, =_stack_end\n"
        "ldr r1, =_stack_start\n"
        "ldr r3, =0xcccccccc\n"
        "3: cmp r0, r1\n"
        "itt lo\n"
        "strlo r3, [r0], #4\n"
        "blo 3b\n"
        "b %c0\n"
        :
        : "i"(run));
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))&_stack_start, reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault,
};
