"""`python -m attn_training`: trains keyword spotters, a classifier of commands, and what writes down strings of digits.

words WORD… [--recordings DIR]   a spotter for these words: model, labels, thresholds, calibration data, curve, card
voices                           fetches the neural voices that say the words
commands                         Speech Commands, 12 classes: a streaming attention model beside BC-ResNet-1
digits                           strings of spoken digits: an encoder with attention, by folds of speakers
judge MODEL                      false accepts and recall on what no training heard
shrink LARGE SMALL STREAMS       a smaller spotter from a larger one, to start from
fixtures                         untrained spotters for the converter's tests, and the shipped one by the other exporter
"""

import sys


def main():
    command, *rest = sys.argv[1:] or ["help"]
    if command == "words":
        from .words.command import main as run
        run(rest)
    elif command == "judge":
        from .words.judging import main as run
        run(rest)
    elif command == "commands":
        from .commands.command import main as run
        run(rest)
    elif command == "digits":
        from .digits.command import main as run
        run(rest)
    elif command == "voices":
        from .words import places, voices
        voices.fetch(places.VOICES)
        print(f"voices in {places.VOICES}")
    elif command == "shrink":
        from .words.shrink import main as run
        run(rest)
    elif command == "fixtures":
        from .words.fixtures import main as run
        run()
    else:
        print(__doc__)
        sys.exit(command not in {"help", "--help", "-h"})


main()
