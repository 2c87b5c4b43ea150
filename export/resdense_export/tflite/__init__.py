"""The .tflite file: reading, packing, metadata, running and timing it, and the child process that does so."""
