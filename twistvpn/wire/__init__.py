"""Bytes to values and back: no state beyond a stream's deframer, no Twisted, no clock."""
