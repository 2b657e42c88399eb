"""What is true everywhere: values in, values out.

The law of this folder: no I/O, no clock, no threads, no randomness, no logging, no operating system. What
such code needs comes as an argument. Everything here may be called from any process and any thread.
"""
