"""The lab without AWS."""
