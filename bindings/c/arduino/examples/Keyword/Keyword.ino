// Keywords from the board's own microphone (PDM: Nano 33 BLE Sense, Nano RP2040 Connect), on the serial port and the LED.
#include <PDM.h>
#include <attn.hpp>

#include "kws.h"

static ATTN_ALIGNED uint8_t arena[KWS_ARENA_LEN];
static attn::Model model;
static attn::Spotter spotter;

// Filled by the microphone's interrupt, emptied by loop(): 0.26 s of sound.
static const size_t ROOM = 4096;
static int16_t ring[ROOM];
static volatile size_t written = 0, lost = 0;
static size_t taken = 0;

static void onSamples() {
  static int16_t piece[256];
  while (int bytes = PDM.available()) {
    if (bytes > (int)sizeof(piece)) {
      bytes = sizeof(piece);
    }
    PDM.read(piece, bytes);
    for (int at = 0; at < bytes / 2; at++) {
      if (written - taken < ROOM) {
        ring[written % ROOM] = piece[at];
        written = written + 1;
      } else {
        lost = lost + 1;
      }
    }
  }
}

static void stop(const attn::Error &error) {
  char text[160];
  while (true) {
    Serial.println(error.text(text));
    delay(1000);
  }
}

static void heard(const attn_event &event) {
  digitalWrite(LED_BUILTIN, HIGH);
  Serial.print((unsigned long)(event.time_samples / 16));
  Serial.print(" ms: ");
  Serial.write((const uint8_t *)event.label.bytes, event.label.len);
  Serial.println();
}

void setup() {
  Serial.begin(115200);
  pinMode(LED_BUILTIN, OUTPUT);
  if (attn::Error error = model.start(kws)) {
    stop(error);
  }
  if (attn::Error error = spotter.start(model, arena)) {
    stop(error);
  }
  PDM.onReceive(onSamples);
  if (!PDM.begin(1, ATTN_SAMPLE_RATE)) {
    Serial.println("the microphone does not start");
  }
}

void loop() {
  // One piece without a wrap, at most a hop: what was recorded meanwhile comes next.
  size_t start = taken % ROOM, len = written - taken;
  len = min(len, min(ROOM - start, spotter.hop()));
  if (len == 0) {
    return;
  }
  digitalWrite(LED_BUILTIN, LOW);
  if (attn::Error error = spotter.push({ring + start, len}, heard)) {
    stop(error);
  }
  taken += len;
  if (lost > 0 && written == taken) {
    noInterrupts();
    size_t gap = lost;
    lost = 0;
    interrupts();
    if (attn::Error error = spotter.gap(gap)) {
      stop(error);
    }
  }
}
