// What the sketch uses of an Arduino core, on a computer: just enough to compile and run it. The microphone plays a recording.
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define HIGH 1
#define LOW 0
#define OUTPUT 1
#define LED_BUILTIN 13

struct SerialPort {
    void begin(unsigned long) {}
    void print(unsigned long number) { printf("%lu", number); }
    void print(const char *text) { fputs(text, stdout); }
    void println(const char *text) { puts(text); }
    void println() { putchar('\n'); }
    void write(const uint8_t *bytes, size_t len) { fwrite(bytes, 1, len, stdout); }
};
extern SerialPort Serial;

inline void pinMode(int, int) {}
inline void digitalWrite(int, int) {}
inline void noInterrupts() {}
inline void interrupts() {}
/* The sketch waits only behind an error. */
inline void delay(unsigned long) { exit(1); }
template <typename T>
T min(T a, T b) {
    return a < b ? a : b;
}

void setup();
void loop();

#endif
