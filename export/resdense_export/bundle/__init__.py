"""What a phone developer receives: checked .tflite files with everything that is needed to use them correctly."""
