// The core: the microphone's interrupt every 256 samples, and loop() in between. Argument: a recording.
#include "PDM.h"

SerialPort Serial;
Microphone PDM;

int main(int argc, char **argv) {
    if (argc != 2 || !(PDM.recording = fopen(argv[1], "rb")) || fseek(PDM.recording, 0, SEEK_END) != 0) {
        return 1;
    }
    long left = ftell(PDM.recording) - 44;
    fseek(PDM.recording, 44, SEEK_SET);
    setup();
    while (left > 0) {
        PDM.ready = left < 512 ? (int)left : 512;
        left -= PDM.ready;
        PDM.receive();
        loop();
        loop();
    }
    return 0;
}
