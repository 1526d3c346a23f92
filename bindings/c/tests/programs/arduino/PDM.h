// The microphone.
#ifndef PDM_H
#define PDM_H

#include "Arduino.h"

struct Microphone {
    void (*receive)() = nullptr;
    FILE *recording = nullptr;
    int ready = 0;

    void onReceive(void (*function)()) { receive = function; }
    int begin(int channels, long rate) { return channels == 1 && rate == 16000; }
    int available() { return ready; }
    int read(void *bytes, size_t count) {
        size_t len = fread(bytes, 1, count, recording);
        ready -= (int)len;
        return (int)len;
    }
};
extern Microphone PDM;

#endif
