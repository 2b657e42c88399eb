"""What all processes see: mapped files in one private directory.

The law of this folder: a mapped file is never truncated, never rewritten in place and never sparse; shared words
are eight bytes, aligned, and have one writer; everything that is read is checked. Only ``files`` opens files;
the rest works over any writable buffer.
"""
