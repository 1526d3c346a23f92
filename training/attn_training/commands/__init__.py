"""Speech Commands, 12 classes: a streaming attention model beside BC-ResNet-1, trained on the same clips."""
