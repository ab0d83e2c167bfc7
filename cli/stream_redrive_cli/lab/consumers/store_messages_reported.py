"""The same consumer as store_messages, with one line more: it reports why a record failed."""

import store_messages

from stream_redrive.reporting import report_failures

handler = report_failures(store_messages.handler)
