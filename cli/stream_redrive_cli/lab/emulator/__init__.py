"""The local cloud: ministack with faithful handler errors, call counts and faults on demand."""
