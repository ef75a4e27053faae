"""TensorFlow: gradient tapes, loops and the train step."""
