"""What a phone developer receives: checked .tflite files with all that is needed to use them rightly."""
