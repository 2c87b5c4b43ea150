"""Makes files from models: one conversion, many quantizations, aware training, and the stock converter for
comparison."""
